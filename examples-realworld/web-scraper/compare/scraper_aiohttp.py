"""The same with aiohttp: one thread, tasks instead of workers."""

import asyncio
import re
import sys

try:
    import aiohttp
except ImportError:
    print("the Python package aiohttp is not installed", file=sys.stderr)
    sys.exit(77)

TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)


async def worker(session, urls, results):
    for url in urls:  # one iterator for all: each takes the next
        async with session.get(url) as response:
            body = await response.read()
        match = TITLE.search(body.decode(errors="replace"))
        results.append((response.status, len(body), match.group(1).strip() if match else None))


async def main():
    with open(sys.argv[1]) as file:
        urls = iter(file.read().split())
    workers = int(sys.argv[2].split("x")[0])
    results = []
    connector = aiohttp.TCPConnector(limit=workers)
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(worker(session, urls, results) for _ in range(workers)))
    good = [(size, title) for status, size, title in results if status == 200]
    total = sum(size for size, _ in good)
    numbers = sum(int(title.rpartition("/")[2]) for _, title in good)
    print(f"{len(good)} pages, {total} bytes, numbers {numbers}")


asyncio.run(main())
