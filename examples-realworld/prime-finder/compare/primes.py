"""Counts or lists the primes below a limit with the standard library.

    python3 primes.py 1e7 [sieve|trial|pool|list]

sieve: a bytearray with a byte per odd number, crossed out by slices: what is fast in plain Python.
trial: division by odd numbers up to the root.
pool:  the same by a process for each processor, many small ranges instead of a few equal ones.
list:  the sieve, and one prime per line.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import compress
from math import isqrt


def sieve(limit):
    """A byte for each odd number: byte i is 1 where 2i + 1 is prime."""
    flags = bytearray(b"\x01") * (limit // 2)
    flags[:1] = b"\x00"[: len(flags)]
    for i in range(1, (isqrt(limit) + 1) // 2):
        if flags[i]:
            step = 2 * i + 1
            first = step * step // 2
            flags[first::step] = bytes(len(range(first, len(flags), step)))
    return flags


def count_by_sieve(limit):
    return sieve(limit).count(1) + (limit > 2)


def is_prime(number):
    if number < 2 or number % 2 == 0:
        return number == 2
    return all(map(number.__mod__, range(3, isqrt(number) + 1, 2)))


def count_by_trial(begin, end):
    return sum(map(is_prime, range(begin, end)))


def count_by_pool(limit):
    step = max(1000, limit // (os.cpu_count() * 32))
    begins = range(0, limit, step)
    ends = (min(begin + step, limit) for begin in begins)
    with ProcessPoolExecutor() as pool:
        return sum(pool.map(count_by_trial, begins, ends))


def print_list(limit):
    write = sys.stdout.write
    flags = sieve(limit)
    if limit > 2:
        write("2\n")
    # A million numbers at a time: the text of all of them would not be bounded.
    for begin in range(0, len(flags), 500_000):
        part = flags[begin : begin + 500_000]
        numbers = range(2 * begin + 1, 2 * (begin + len(part)) + 1, 2)
        lines = map("%d\n".__mod__, compress(numbers, part))
        write("".join(lines))


def main():
    limit = int(float(sys.argv[1]))
    how = sys.argv[2] if len(sys.argv) > 2 else "sieve"
    if how == "list":
        print_list(limit)
    elif how == "pool":
        print(count_by_pool(limit))
    elif how == "trial":
        print(count_by_trial(0, limit))
    else:
        print(count_by_sieve(limit))


if __name__ == "__main__":
    main()
