#!/bin/sh
# rust.sh PROGRAM URLS WORKERSxLATENCY: the program, its lines of JSON added up to the common answer.
"$1" --json --workers "${3%x*}" --from-file "$2" 2>/dev/null | awk -f "$(dirname "$0")/answer.awk"
