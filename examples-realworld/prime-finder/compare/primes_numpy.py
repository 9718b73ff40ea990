"""Counts the primes below a limit with numpy: a segmented sieve over the odd numbers.

    python3 primes_numpy.py 1e9
"""

import sys
from math import isqrt

try:
    import numpy as np
except ImportError:
    print("numpy is not installed", file=sys.stderr)
    sys.exit(77)

SEGMENT = 1 << 20  # odd numbers at a time: they fit into the second-level cache


def primes_below(limit):
    flags = np.ones(max(limit // 2, 1), dtype=np.bool_)
    flags[0] = False
    for i in range(1, (isqrt(limit) + 1) // 2):
        if flags[i]:
            flags[2 * i * (i + 1) :: 2 * i + 1] = False
    return 2 * np.flatnonzero(flags) + 1


def count(limit):
    if limit <= 2:
        return 0
    strikers = [int(prime) for prime in primes_below(isqrt(limit) + 2)]
    # The index of a number's odd half; each prime begins at its square.
    total, nexts = 1, [prime * prime // 2 for prime in strikers]
    flags = np.empty(SEGMENT, dtype=np.bool_)
    for begin in range(0, limit // 2, SEGMENT):
        length = min(SEGMENT, limit // 2 - begin)
        flags[:] = True
        if begin == 0:
            flags[0] = False
        for index, prime in enumerate(strikers):
            at = nexts[index] - begin
            if at >= length:
                if prime * prime // 2 >= begin + length:
                    break
                continue
            flags[at:length:prime] = False
            nexts[index] = begin + at + (length - at + prime - 1) // prime * prime
        total += int(np.count_nonzero(flags[:length]))
    return total


print(count(int(float(sys.argv[1]))))
