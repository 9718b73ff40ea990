#!/bin/sh
# jq.sh FOLDER: the same summary by jq, which builds one value after another on one core.
command -v jq >/dev/null || { echo "jq is not installed" >&2; exit 77; }
records=$(find "$1" -name '*.json' -type f -exec jq 'if type == "array" then length else 1 end' {} + |
    awk '{ sum += $1 } END { print sum + 0 }')
files=$(find "$1" -name '*.json' -type f | wc -l)
bytes=$(find "$1" -name '*.json' -type f -exec cat {} + | wc -c)
echo "$((files)) files: $((files)) processed, 0 failed; $records records, $((bytes)) bytes"
