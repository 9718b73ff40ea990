"""The same with requests: a session per thread, so that connections are kept."""

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

try:
    import requests
except ImportError:
    print("the Python package requests is not installed", file=sys.stderr)
    sys.exit(77)

TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)
local = threading.local()


def fetch(url):
    if not hasattr(local, "session"):
        local.session = requests.Session()
    response = local.session.get(url, timeout=10)
    match = TITLE.search(response.text)
    return response.status_code, len(response.content), match.group(1).strip() if match else None


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
