"""The job of json-pipeline as a good Python programmer would write it.

pipeline.py INPUT [--output FOLDER] [--workers N] [--orjson]

A pool of processes, because the interpreter's lock lets one thread at a time parse. The files of
one call travel in chunks. Results are written beside their place and moved there.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path


def process(loads, root, output, path):
    began = time.perf_counter()
    try:
        text = path.read_bytes()
        data = loads(text)
        records = len(data) if isinstance(data, list) else 1
        if output:
            target = output / path.relative_to(root).with_name(f"processed_{path.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            result = {
                "made_by": "json-pipeline",
                "input": str(path),
                "records": records,
                "bytes": len(text),
                "seconds": time.perf_counter() - began,
                "processed_at": time.time(),
            }
            with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False) as file:
                json.dump(result, file, indent=2)
            os.replace(file.name, target)
        return path, records, len(text), None
    except (OSError, ValueError) as error:
        return path, 0, 0, str(error)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("input", type=Path)
    options.add_argument("--output", type=Path)
    options.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--orjson", action="store_true")
    options = options.parse_args()
    loads = json.loads
    if options.orjson:
        try:
            from orjson import loads
        except ImportError:
            print("the Python module orjson is not installed", file=sys.stderr)
            sys.exit(77)

    paths = [
        path
        for path in sorted(options.input.rglob("*"))
        if path.suffix.lower() == ".json" and path.is_file() and not path.name.startswith("processed_")
    ]
    job = partial(process, loads, options.input, options.output)
    chunk = max(1, min(64, len(paths) // (4 * options.workers)))
    done = failed = records = size = 0
    with ProcessPoolExecutor(options.workers) as pool:
        for path, count, length, error in pool.map(job, paths, chunksize=chunk):
            if error:
                failed += 1
                print(f"failed: {path}: {error}", file=sys.stderr)
            else:
                done += 1
                records += count
                size += length
    print(f"{done + failed} files: {done} processed, {failed} failed; {records} records, {size} bytes")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
