"""Builds the server and makes the list of pages: setup.py FOLDER WORKERSxLATENCY."""

import pathlib
import subprocess
import sys

folder, size = pathlib.Path(sys.argv[1]), sys.argv[2]
workers, latency = map(int, size.split("x"))
source = pathlib.Path(__file__).with_name("serve.c")
subprocess.run(["cc", "-O2", "-o", folder / "serve", source], check=True)
# Without latency, enough to measure; with latency, one second at best.
pages = 5000 if latency == 0 else workers * 1000 // latency
with open(folder / "pages", "w") as urls:
    for page in range(pages):
        print(f"http://127.0.0.1:PORT/page/{page}", file=urls)
