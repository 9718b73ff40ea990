"""Builds and starts the server, and writes the list of URLs: setup.py FOLDER WORKERSxLATENCY.

The server goes to the background: its CPU time is nobody's, and it ends by itself.
"""

import pathlib
import subprocess
import sys

folder, size = pathlib.Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
workers, latency = map(int, size.split("x"))
source = pathlib.Path(__file__).with_name("serve.c")
subprocess.run(["cc", "-O2", "-o", folder / "serve", source], check=True)
subprocess.run([folder / "serve", folder / "port", str(latency)], check=True)
port = int((folder / "port").read_text())
# Without latency, enough to measure; with latency, one second at best.
pages = 5000 if latency == 0 else workers * 1000 // latency
with open(folder / "urls", "w") as urls:
    for page in range(pages):
        print(f"http://127.0.0.1:{port}/page/{page}", file=urls)
