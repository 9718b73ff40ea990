"""Transfers between accounts by threads, with a lock for each account taken in order.

    python3 bank.py ACCOUNTS THREADS TRANSFERS

Prints the checksum of the balances, and the seconds that the transfers and audits took. The
transfers, the pieces they are handed out in and the number of audits are those of the Rust
program. An audit takes the lock of each account; there it takes one lock around them all.
"""

import sys
import threading
import time

SEED = 1
INITIAL = 1_000_000_000_000
MASK = (1 << 64) - 1
LARGEST_PIECE = 4096


class Refused(Exception):
    pass


class Account:
    __slots__ = ("number", "balance", "lock")

    def __init__(self, number, balance):
        self.number = number
        self.balance = balance
        self.lock = threading.Lock()


def transfer(source, target, cents):
    if source is target:
        raise Refused("same account")
    if cents <= 0:
        raise Refused("not positive")
    first, second = (source, target) if source.number < target.number else (target, source)
    with first.lock, second.lock:
        if cents > source.balance:
            raise Refused("insufficient")
        source.balance -= cents
        target.balance += cents


def audit(accounts, total):
    for account in accounts:
        account.lock.acquire()
    balances = [account.balance for account in accounts]
    for account in accounts:
        account.lock.release()
    if sum(balances) != total or min(balances) < 0:
        sys.exit("an audit failed")


class Schedule:
    """Hands out pieces; workers may run one interval ahead of the auditor."""

    def __init__(self, transfers, accounts, workers):
        self.transfers = transfers
        self.interval = max(1, min(max(transfers // 64, 4 * accounts), transfers // 18))
        self.next = 0
        self.audits = 0
        self.workers = workers
        self.changed = threading.Condition()

    def next_piece(self):
        with self.changed:
            while self.next < self.transfers and self.next // self.interval > self.audits + 1:
                self.changed.wait()
            first = self.next
            end_of_interval = (first // self.interval + 1) * self.interval
            self.next = min(end_of_interval, first + LARGEST_PIECE, self.transfers)
            if first % self.interval == 0 or first == self.transfers:
                self.changed.notify_all()
            return range(first, self.next)

    def leave(self):
        with self.changed:
            self.workers -= 1
            self.changed.notify_all()

    def wait_until_due(self):
        with self.changed:
            self.changed.wait_for(
                lambda: self.workers == 0 or self.next > self.audits * self.interval
            )
            return self.workers > 0

    def audited(self):
        with self.changed:
            self.audits += 1
            self.changed.notify_all()


def work(accounts, schedule, refusals):
    count = len(accounts)
    refused = 0
    while piece := schedule.next_piece():
        for index in piece:
            z = (SEED + (index + 1) * 0x9E3779B97F4A7C15) & MASK
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            z ^= z >> 31
            source = ((z >> 40) * count) >> 24
            target = ((z >> 16 & 0xFFFFFF) * (count - 1)) >> 24
            if target >= source:
                target += 1
            cents = 1 + ((z & 0xFFFF) * 10_000 >> 16)
            try:
                transfer(accounts[source], accounts[target], cents)
            except Refused:
                refused += 1
    refusals.append(refused)
    schedule.leave()


def keep_auditing(accounts, schedule):
    while schedule.wait_until_due():
        audit(accounts, len(accounts) * INITIAL)
        schedule.audited()


def main():
    count, workers, transfers = (int(argument) for argument in sys.argv[1:])
    accounts = [Account(number, INITIAL) for number in range(count)]
    schedule = Schedule(transfers, count, workers)
    refusals = []
    threads = [threading.Thread(target=keep_auditing, args=(accounts, schedule))]
    for _ in range(workers):
        threads.append(threading.Thread(target=work, args=(accounts, schedule, refusals)))
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    checksum = sum(place * account.balance for place, account in enumerate(accounts, 1))
    print(f"checksum {checksum & MASK} refused {sum(refusals)}")
    print(f"# seconds {seconds:.6f}")


main()
