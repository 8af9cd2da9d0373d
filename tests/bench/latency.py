#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the probes add to a single call, with stacks: in the middle, at the worst, and under load.

usage: latency.py [ROUNDS]   default 10

One thread takes the time of each of its allocations with its free, below a stack of 20 frames, while
others do nothing or call as fast as they can. Compared is a library that the daemon probes with one
that it does not, in turn. Percentiles are medians of the rounds, the maximum is that of all. Times are
the thread's own: a probe waits for nobody, but who is on the processor for longer is more often put off
it for another. To take the time takes half a microsecond, which is in both.
"""
import statistics

from bench_tools import Bench, Row, main, native_target, python_target

ROUNDS = 10
PAIRS = 20_000  # each turn
LOADS = (0, 15)  # threads beside the one
DEPTH = 20
FIGURES = ("p50", "p99", "p999", "max")


def summary(found):
    """{figure: [of each round]} in one."""
    return {f: (max if f == "max" else statistics.median)(found[f]) for f in FIGURES}


def rows_of(name, target, threads, rounds):
    found = [{f: [] for f in FIGURES} for _ in range(2)]
    for _ in range(rounds):
        for which in range(2):
            said = target.ask(f"latency {which} {PAIRS} {threads}")
            for f in FIGURES:
                found[which][f].append(said[f])
    plain, probed = map(summary, found)
    where = f"{name} stack, {f'{threads} threads beside' if threads else 'alone'}"
    for f in FIGURES:
        added = probed[f] - plain[f]
        yield Row(
            f"{where}, {f.replace('p999', 'p99.9')}",
            f"{plain[f] / 1e3:,.1f} µs, probed {probed[f] / 1e3:,.1f} µs: {added / 1e3:+,.1f} µs",
        )


def measure(rounds=ROUNDS):
    rows = []
    with Bench() as bench:
        library = bench.copy_as("watched")
        daemon = bench.daemon(library)
        plain = bench.copy("plain")  # has no name that the daemon looks for
        libraries = [f"cuda:{plain}", f"cuda:{library}"]
        for name, start in (("native", native_target), ("Python", python_target)):
            with start(DEPTH, libraries) as target:
                for threads in LOADS:
                    rows.extend(rows_of(name, target, threads, rounds))
                assert daemon.process_row(target.greeting["pid"]), "the target was not watched"
    return rows


if __name__ == "__main__":
    main("Time of a call", measure, ROUNDS, __doc__)
