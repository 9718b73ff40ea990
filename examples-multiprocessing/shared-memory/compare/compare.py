"""The same jobs in Python: messages to a worker, and four workers that count on one value.

    python3 compare.py pipe|memory BYTES
    python3 compare.py value COUNT
"""

import multiprocessing
import sys
import time
from multiprocessing import shared_memory

WORKERS = 4
ROUNDS = 10
WORD = 8
context = multiprocessing.get_context("fork")


def receive_by_pipe(connection):
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(message[-WORD:])


def receive_by_memory(connection, name, size):
    # With its creator as its parent, it shares the resource tracker: nothing to unregister.
    memory = shared_memory.SharedMemory(name)
    while True:
        try:
            connection.recv_bytes()
        except EOFError:
            break
        message = bytes(memory.buf[:size])
        connection.send_bytes(message[-WORD:])
    memory.close()


def send(job, size):
    """About 25 MB in messages of one size, each answered before the next is sent."""
    number = max(1, min(25_000_000 // size, 2000))
    # As in compare.rs: the fastest of several workers.
    return number, min(send_to_one(job, size, number) for _ in range(ROUNDS))


def send_to_one(job, size, number):
    ours, theirs = context.Pipe()
    memory = shared_memory.SharedMemory(create=True, size=size)
    if job == "pipe":
        worker = context.Process(target=receive_by_pipe, args=(theirs,))
    else:
        worker = context.Process(target=receive_by_memory, args=(theirs, memory.name, size))
    # The fork copies our end, too; so the end is said to the worker by ending it.
    worker.daemon = True
    worker.start()
    message = bytearray([7]) * size
    try:
        # The first one is for warming up.
        for n in range(number + 1):
            if n == 1:
                begin = time.perf_counter()
            message[-WORD:] = n.to_bytes(WORD, sys.byteorder)
            if job == "pipe":
                ours.send_bytes(message)
            else:
                memory.buf[:size] = message
                ours.send_bytes(b"!")
            answer = int.from_bytes(ours.recv_bytes(), sys.byteorder)
            assert answer == n, f"sent {n}, and {answer} arrived"
        return time.perf_counter() - begin
    finally:
        worker.terminate()
        worker.join()
        memory.close()
        memory.unlink()


def add(value, count):
    for _ in range(count):
        with value.get_lock():
            value.value += 1


def count(count):
    value = context.Value("q", 0)
    begin = time.perf_counter()
    workers = [context.Process(target=add, args=(value, count)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return value.value, time.perf_counter() - begin


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("pipe", "memory", "value"):
        sys.exit(__doc__)
    job, size = sys.argv[1], int(float(sys.argv[2]))
    answer, seconds = count(size) if job == "value" else send(job, size)
    print(f"{answer}\n# seconds {seconds:.9f}")
