"""The same jobs for Python's ThreadPoolExecutor of 4 threads: each squares a number.

    python3 futures.py handles|completed|map|trip COUNT
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

WORKERS = 4


def square(n):
    return n * n


def handles(pool, count):
    """Submits all, then waits for each."""
    futures = [pool.submit(square, n) for n in range(count)]
    return sum(future.result() for future in futures)


def completed(pool, count):
    """Submits all; takes the results in the order in which they come."""
    futures = [pool.submit(square, n) for n in range(count)]
    return sum(future.result() for future in as_completed(futures))


def map_all(pool, count):
    return sum(pool.map(square, range(count)))


def trip(pool, count):
    """Submits one, waits for it, submits the next."""
    return sum(pool.submit(square, n).result() for n in range(count))


def main():
    job = {"handles": handles, "completed": completed, "map": map_all, "trip": trip}[sys.argv[1]]
    count = int(float(sys.argv[2]))
    with ThreadPoolExecutor(WORKERS) as pool:
        pool.submit(square, 1).result()
        begin = time.perf_counter()
        answer = job(pool, count)
        seconds = time.perf_counter() - begin
    print(answer)
    print(f"# seconds {seconds:.9f}")


main()
