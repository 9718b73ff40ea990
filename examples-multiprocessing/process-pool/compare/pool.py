"""The same jobs for Python's pools: 4 workers, started by fork.

    python3 pool.py start|trip|unchunked|chunked|bulk COUNT
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 4
context = multiprocessing.get_context("fork")


def square(n):
    return n * n


def invert(block):
    block[:1] = bytes(255 - byte for byte in block[:1])
    return block


def report(answer, seconds):
    print(answer)
    print(f"# seconds {seconds:.9f}")


def start(count):
    """From nothing to four workers that have answered, and to their end."""
    begin = time.perf_counter()
    answer = 0
    for _ in range(count):
        with context.Pool(WORKERS) as pool:
            answer += sum(pool.map(square, range(WORKERS), chunksize=1))
            pool.close()
            pool.join()
    report(answer, time.perf_counter() - begin)


def trip(count):
    """One task after another, each waited for."""
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        pool.submit(square, 1).result()
        begin = time.perf_counter()
        answer = sum(pool.submit(square, n).result() for n in range(count))
        seconds = time.perf_counter() - begin
    report(answer, seconds)


def unchunked(count):
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        pool.submit(square, 1).result()
        begin = time.perf_counter()
        answer = sum(pool.map(square, range(count)))
        seconds = time.perf_counter() - begin
    report(answer, seconds)


def chunked(count):
    """The fastest of several chunk sizes counts."""
    best = None
    with context.Pool(WORKERS) as pool:
        pool.map(square, range(WORKERS), chunksize=1)
        for chunk in [None, count // 4, count // 8, count // 32, count // 128, 10_000, 1_000]:
            begin = time.perf_counter()
            results = pool.map(square, range(count), chunk and max(chunk, 1))
            seconds = time.perf_counter() - begin
            if best is None or seconds < best[0]:
                best = (seconds, chunk)
            answer = sum(results)
    print(f"# best chunk size: {best[1] or 'the default'}")
    report(answer, best[0])


def bulk(count):
    """Blocks of 1 MB to the workers and back; the faster of the two pools counts."""
    with context.Pool(WORKERS) as pool:
        pool.map(square, range(WORKERS), chunksize=1)
        tasks = [bytearray([n % 256]) * 1_000_000 for n in range(count)]
        begin = time.perf_counter()
        results = pool.map(invert, tasks, chunksize=1)
        seconds = time.perf_counter() - begin
        answer = sum(len(r) + r[0] for r in results)
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        pool.submit(square, 1).result()
        begin = time.perf_counter()
        results = list(pool.map(invert, tasks))
        seconds = min(seconds, time.perf_counter() - begin)
        assert answer == sum(len(r) + r[0] for r in results)
    report(answer, seconds)


if __name__ == "__main__":
    jobs = {"start": start, "trip": trip, "unchunked": unchunked, "chunked": chunked, "bulk": bulk}
    if len(sys.argv) != 3 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    jobs[sys.argv[1]](int(float(sys.argv[2])))
