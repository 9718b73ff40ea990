# The answer that all sides give: pages with status 200, their bytes, the sum of their numbers.
/"status":200/ {
    pages += 1
    match($0, /"bytes":[0-9]+/); bytes += substr($0, RSTART + 8, RLENGTH - 8)
    match($0, /"title":"\/page\/[0-9]+"/); numbers += substr($0, RSTART + 15, RLENGTH - 16)
}
END { printf "%d pages, %d bytes, numbers %.0f\n", pages, bytes, numbers }
