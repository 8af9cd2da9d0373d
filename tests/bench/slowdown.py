#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a target loses of its throughput, by how often it allocates.

usage: slowdown.py [ROUNDS]   default 12

A Python process works at a fixed task below a stack of 20 frames, and allocates and frees so many
times a second of its processor time meanwhile. Compared is the work done in a second of it, with the
daemon's probes on the functions that it calls and, in turn, with none. Below a percent the machine's
own unrest is larger than what is measured; "by cost" is then the better figure: the cost of one
allocation and free, as measured at the highest rate, times the rate.
"""
import statistics

from bench_tools import Bench, Row, main, python_target

ROUNDS = 12
RATES = (100, 1_000, 20_000)
MS = 400  # of processor time, each turn
DEPTH = 20


def work_per_second(target, which, rate):
    found = target.ask(f"paced {which} {rate} {MS}")
    return found["units"] / found["cpu_ns"] * 1e9


def lost_share(target, rate):
    """In one round, of a target's work."""
    plain, probed = (work_per_second(target, which, rate) for which in (0, 1))
    return 1 - probed / plain


def measure(rounds=ROUNDS):
    with Bench() as bench:
        library = bench.copy_as("watched")
        daemon = bench.daemon(library)
        plain = bench.copy("plain")  # has no name that the daemon looks for
        with python_target(DEPTH, [f"cuda:{plain}", f"cuda:{library}"]) as target:
            found = {rate: [] for rate in RATES}
            for _ in range(rounds):
                for rate in RATES:
                    found[rate].append(lost_share(target, rate))
            assert daemon.process_row(target.greeting["pid"]), "the target was not watched"
    medians = {rate: statistics.median(shares) for rate, shares in found.items()}
    each_s = medians[RATES[-1]] / RATES[-1]
    return [
        Row(f"throughput lost at {rate:,} allocations/s",
            f"{share:.2%}; by cost {each_s * rate:.3%}")
        for rate, share in medians.items()
    ]


if __name__ == "__main__":
    main("Throughput of a target", measure, ROUNDS, __doc__)
