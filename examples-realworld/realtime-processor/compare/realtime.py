"""The same stream with queue.Queue and threads: source, bounded queue, workers, output stage.

    python3 realtime.py ITEMS [WORKERS] [QUEUE] [BATCH] [RATE]

BATCH 1 hands items over one by one; more puts lists of that many into the queues. RATE is in
items per second, 0 for as fast as it goes.
"""

import queue
import sys
import threading
import time

GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
SEED = 42
END = None


def numbers():
    arguments = [int(float(text)) for text in sys.argv[1:]]
    return arguments + [100_000, 3, 1024, 1, 0][len(arguments):]


def items(count, rate):
    """Yields (number, time taken, value), at most `rate` a second."""
    start = time.monotonic()
    for number in range(1, count + 1):
        if rate:
            wait = start + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
        value = ((number + SEED) * GOLDEN & MASK) % 100 + 1
        yield number, time.perf_counter_ns(), value


def source_one_by_one(count, rate, workers, inbox):
    for item in items(count, rate):
        inbox.put(item)
    for _ in range(workers):
        inbox.put(END)


def worker_one_by_one(worker, inbox, outbox, latencies):
    while (item := inbox.get()) is not END:
        number, taken, value = item
        result = value * 2
        done = time.perf_counter_ns()
        latencies.append(done - taken)
        outbox.put((number, result, worker, done))
    outbox.put(END)


def output_one_by_one(workers, outbox):
    out = total = 0
    while workers:
        result = outbox.get()
        if result is END:
            workers -= 1
        else:
            out += 1
            total += result[1]
    return out, total


def source_in_batches(count, rate, workers, inbox, size):
    batch = []
    for item in items(count, rate):
        batch.append(item)
        if len(batch) == size:
            inbox.put(batch)
            batch = []
    if batch:
        inbox.put(batch)
    for _ in range(workers):
        inbox.put(END)


def worker_in_batches(worker, inbox, outbox, latencies):
    while (batch := inbox.get()) is not END:
        results = []
        for number, taken, value in batch:
            result = value * 2
            done = time.perf_counter_ns()
            latencies.append(done - taken)
            results.append((number, result, worker, done))
        outbox.put(results)
    outbox.put(END)


def output_in_batches(workers, outbox):
    out = total = 0
    while workers:
        results = outbox.get()
        if results is END:
            workers -= 1
        else:
            out += len(results)
            for result in results:
                total += result[1]
    return out, total


def main():
    count, workers, capacity, size, rate = numbers()
    inbox, outbox = (queue.Queue(max(1, capacity // size)) for _ in range(2))
    latencies = [[] for _ in range(workers)]
    if size == 1:
        source, source_options = source_one_by_one, ()
        worker, output = worker_one_by_one, output_one_by_one
    else:
        source, source_options = source_in_batches, (size,)
        worker, output = worker_in_batches, output_in_batches
    start = time.perf_counter()
    threads = [
        threading.Thread(target=worker, args=(n + 1, inbox, outbox, latencies[n]))
        for n in range(workers)
    ]
    source_arguments = (count, rate, workers, inbox, *source_options)
    threads.append(threading.Thread(target=source, args=source_arguments))
    for thread in threads:
        thread.start()
    out, total = output(workers, outbox)
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start

    assert out == count
    print(f"in {count}, out {out}, failed 0, not processed 0, sum {total}")
    print(f"# seconds {seconds:.6f}")
    in_order = sorted(latency for part in latencies for latency in part)
    if in_order:
        at = lambda share: in_order[int((len(in_order) - 1) * share)] / 1000
        print(f"# latency p50 {at(0.5):.1f} µs, p99 {at(0.99):.1f} µs, max {at(1):.1f} µs")


if __name__ == "__main__":
    main()
