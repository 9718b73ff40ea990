"""Makes the input of the benchmark: make.py FOLDER FILESxBYTES [STYLE], as in 200x5M or 2000x4K.

The records are those of a shop: ids, names and remarks with escapes and letters beyond ASCII,
numbers, nested objects. The same arguments always give the same files. STYLE is `default` (as
json.dump writes it), `ascii` (every letter beyond ASCII as \\uXXXX), `compact`, `lines` (a record
per line) or `indent`.
"""

import json
import os
import random
import sys

WORDS = """order river Straße naïve café 東京 window träge quick silver ship paper señor lamp blue
"quoted" back\\slash tab\tstop first\nsecond 😀 under stone garden light Øresund forty seven small
customer delivery evening morning Köln apple north""".replace("\n", " ").split(" ")
DUMP = {
    "default": dict(ensure_ascii=False),
    "ascii": dict(ensure_ascii=True),
    "compact": dict(ensure_ascii=False, separators=(",", ":")),
    "lines": dict(ensure_ascii=False),
    "indent": dict(ensure_ascii=False, indent=2),
}


def record(rng, number):
    words = lambda least, most: " ".join(rng.choices(WORDS, k=rng.randint(least, most)))
    return {
        "id": number,
        "uuid": f"{rng.getrandbits(128):032x}",
        "name": words(2, 3),
        "email": f"user{rng.randrange(10**6)}@example.org",
        "active": rng.random() < 0.7,
        "score": round(rng.uniform(-100, 100), rng.randint(1, 6)),
        "parent": None if rng.random() < 0.5 else rng.randrange(10**9),
        "address": {
            "street": f"{words(1, 2)} {rng.randrange(200)}",
            "geo": {"lat": round(rng.uniform(-90, 90), 6), "lon": round(rng.uniform(-180, 180), 6)},
        },
        "tags": rng.choices(["new", "sale", "b2b", "urgent", "überfällig"], k=rng.randrange(5)),
        "items": [
            {"sku": f"SKU-{rng.randrange(10**5):05d}", "count": rng.randint(1, 20), "price": rng.randrange(10**4) / 100}
            for _ in range(rng.randrange(4))
        ],
        "remark": words(0, 30),
    }


def main(folder, shape, style="default"):
    files, size = shape.upper().split("X")
    unit = {"K": 10**3, "M": 10**6, "G": 10**9}.get(size[-1], 1)
    size = int(float(size.rstrip("KMG")) * unit)
    rng = random.Random(f"{shape} {style}")
    print(f"seed: {shape} {style}", file=sys.stderr)
    between = {"compact": b",", "lines": b",\n", "indent": b",\n"}.get(style, b", ")
    # A pool of records to draw from: making each one anew would take minutes for a gigabyte.
    dump = lambda number: json.dumps(record(rng, number), **DUMP[style]).encode()
    pool = [dump(number) + between for number in range(5000)]
    for number in range(int(files)):
        path = os.path.join(folder, f"{number % 16:02x}", f"file{number:05}.json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            written = file.write(b"[\n" if style in ("lines", "indent") else b"[")
            while True:
                record_ = rng.choice(pool)
                if written + len(record_) >= size:
                    break
                written += file.write(record_)
            file.write(dump(5000) + b"]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
