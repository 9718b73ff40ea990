"""The same with Python's standard library: scraper.py URLS WORKERSxLATENCY."""

import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed

TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as response:
        body = response.read()
    match = TITLE.search(body.decode(errors="replace"))
    return response.status, len(body), match.group(1).strip() if match else None


def main():
    with open(sys.argv[1]) as file:
        urls = file.read().split()
    workers = int(sys.argv[2].split("x")[0])
    pages = total = numbers = 0
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(fetch, url) for url in urls]):
            status, size, title = future.result()
            if status == 200:
                pages, total = pages + 1, total + size
                numbers += int(title.rpartition("/")[2])
    print(f"{pages} pages, {total} bytes, numbers {numbers}")


main()
