"""Runs a program and gives its p50 latency as its time, for `cargo xtask bench`.

    python3 p50.py PROGRAM [ARGUMENT ...]
"""

import re
import subprocess
import sys

UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

output = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True, text=True).stdout
number, unit = re.search(r"^# latency p50 ([0-9.]+) (\S+),", output, re.MULTILINE).groups()
print(*(line for line in output.splitlines() if not line.startswith("#")), sep="\n")
print(f"# seconds {float(number) * UNITS[unit]:.9f}")
