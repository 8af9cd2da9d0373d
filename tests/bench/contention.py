#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Threads of one process that allocate and free at once, beside memleak-libbpf.

usage: contention.py [ROUNDS]   default 7

All threads begin together. A cost is the processor time of all threads above that of the same calls
without probes, by pair; the rate is that of the whole process. What is compared with the peer is the
cost. Our daemon takes its events in meanwhile, on the same processors.
"""
import os

from bench_tools import (
    Libraries,
    Peer,
    Row,
    Times,
    armed,
    main,
    nanoseconds,
    native_target,
)

ROUNDS = 7
PAIRS = 20_000  # of all threads; their events fit into the ring
DEPTH = 20
THREADS = (1, 2, 4, 16)
LOOKS = ("bare", "no-stacks", "stacks", "peer")


class Count:
    """What one number of threads takes."""

    def __init__(self, threads):
        self.threads = threads
        self.cpu = {look: Times() for look in LOOKS}
        self.wall = {look: Times() for look in LOOKS}

    def round(self, target):
        each = PAIRS // self.threads
        for which, look in enumerate(LOOKS):
            found = target.ask(f"pairs {which} {each} {self.threads}")
            self.cpu[look].add(found["cpu_ns"] / PAIRS)
            self.wall[look].add(found["wall_ns"] / PAIRS)

    def rows(self):
        costs = {look: self.cpu[look].less(self.cpu["bare"]) for look in LOOKS}
        for look, what in (("no-stacks", "ours, no stack"), ("stacks", "ours, native stack"), ("peer", "peer")):
            rate = 1e9 / self.wall[look].least
            ratio = None if look == "peer" else costs[look].least / costs["peer"].least
            yield Row(
                f"{self.threads} thread{'s' if self.threads > 1 else ''}: {what}",
                f"{nanoseconds(costs[look])}; {rate:,.0f} pairs/s",
                ratio,
                {"no-stacks": 0.75, "stacks": 1.0}.get(look),
            )


def measure(rounds=ROUNDS):
    counts = [Count(threads) for threads in THREADS]
    with Libraries() as libraries:
        paths = [libraries.copy(look) for look in LOOKS[:-1]] + [libraries.copy_for_peer()]
        names = [f"{'peer' if look == 'peer' else 'cuda'}:{p}" for look, p in zip(LOOKS, paths)]
        with native_target(DEPTH, names) as target, \
                armed("no-stacks", paths[1]) as ours, armed("stacks", paths[2]) as ours_with_stacks, \
                Peer(target.greeting["pid"], paths[3]):
            for _ in range(rounds):
                for count in counts:
                    count.round(target)
            lost = ours.ask()["lost"] + ours_with_stacks.ask()["lost"]
    rows = [row for count in counts for row in count.rows()]
    return [*rows, Row(f"events lost in these rounds, on {os.cpu_count()} processors", f"{lost:,}")]


if __name__ == "__main__":
    main("Contention", measure, ROUNDS, __doc__)
