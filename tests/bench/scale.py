#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What grows with the number of live allocations, and of processes.

usage: scale.py [ROUNDS]   default 7

For each number there is a daemon of its own, and a process that allocates and frees while others hold
the rest; where these are many, the tables are full, and what they refuse is shown, and then what one
does that was built with larger tables (`make large`). Memory of the daemon is what it has of its own
(RssAnon); of the kernel, what its maps hold.
"""
import time

from bench_tools import (
    BUILD,
    Bench,
    MIB,
    Row,
    Times,
    anonymous_memory,
    is_settled,
    main,
    nanoseconds,
    native_target,
    status,
    wait_until,
)

ROUNDS = 7
PAIRS = 10_000
DEPTH = 20
USUAL, LARGE = BUILD / "srtleakd", BUILD / "large" / "srtleakd"
# Processes, allocations of each. The tables hold 2^21 (bounds.h), the large ones 2^24.
ALLOCATIONS = [
    (1, 1_000, USUAL),
    (1, 10_000, USUAL),
    (1, 100_000, USUAL),
    (4, 250_000, USUAL),
    (20, 500_000, USUAL),
    (20, 500_000, LARGE),
]
PROCESSES = [(1, 100), (10, 100), (100, 100), (1_000, 100)]
SETTLED_S = 300
BYTES_GOAL = 64


def pair_cost(target, rounds):
    plain, probed = Times(), Times()
    for _ in range(rounds):
        for which, times in enumerate((plain, probed)):
            times.add(target.ask(f"pairs {which} {PAIRS} 1")["cpu_ns"] / PAIRS)
    return probed.less(plain)


def answer_ms(daemon, *command):
    """As the person who asks sees it, the client included; the best of five."""
    times = Times()
    for _ in range(5):
        start = time.perf_counter()
        run = daemon.run(*command)
        times.add((time.perf_counter() - start) * 1e3)
        assert run.returncode == 0, run.stderr
    return times.least


def rest(daemon):
    """Waits until the daemon has taken in all that was told it, and knows what there is."""
    seen = [None]

    def is_unchanged():
        told = status(daemon)
        before, seen[0] = seen[0], told["events"]["received"]
        time.sleep(0.3)
        tables = told["tables"]
        return before == seen[0] and tables["allocations"] == tables["live"]

    wait_until(is_unchanged, "the daemon's rest", SETTLED_S)


class Step:
    """The figures of one number of processes that hold so much each."""

    def __init__(self, processes, each, rounds, binary=USUAL):
        with Bench() as bench:
            library = bench.copy_as("watched")
            daemon = bench.daemon(library, binary=binary)
            crowd = bench.crowd(library, processes, each)
            rest(daemon)
            plain = bench.copy("plain")
            with native_target(DEPTH, [f"cuda:{plain}", f"cuda:{library}"]) as target:
                self.cost = pair_cost(target, rounds)
            rest(daemon)
            self.memory = anonymous_memory(daemon.process.pid)
            self.measure_answers(daemon, crowd.pids[0])
            self.held, self.wanted = self.of_crowd(daemon, crowd.pids), processes * each
            told = status(daemon)
            self.kernel = told["tables"]["kernel_bytes"]
            self.refused = {x["name"]: x["refused"] for x in told["limits"]}["allocations"]
            self.lost = told["events"]["lost"]["ring_full"]
            self.recovered = told["events"]["recovered"]

    @staticmethod
    def of_crowd(daemon, pids):
        shown = daemon.ctl("ps")["processes"]
        usages = [p["outstanding"]["device"] for p in shown if p["pid"] in set(pids)]
        return sum(usage["count"] for usage in usages if usage)

    def measure_answers(self, daemon, pid):
        self.sites_ms = answer_ms(daemon, "sites", pid)
        self.allocs_ms = answer_ms(daemon, "allocs", pid, "--limit", "20")
        self.ps_ms = answer_ms(daemon, "ps")

    def row(self, what):
        figures = [
            f"a pair {nanoseconds(self.cost)}",
            f"daemon {self.memory / MIB:.1f} MiB, kernel {self.kernel / MIB:.0f} MiB",
            f"sites, allocs, ps in {self.sites_ms:.0f}, {self.allocs_ms:.0f}, {self.ps_ms:.0f} ms",
        ]
        if self.held < self.wanted:
            figures.append(f"shown {self.held:,}, refused {self.refused:,}")
        if self.lost:
            figures.append(f"{self.lost:,} events lost on the way there, {self.recovered:,} repaired")
        return Row(what, "; ".join(figures))


def bytes_row(step, smallest):
    """Without what a daemon takes that has next to nothing to keep."""
    each = (step.memory - smallest.memory) / (step.held - smallest.held)
    figure = f"{each:.1f} bytes; in the kernel {step.kernel / step.held:.0f}"
    what = f"daemon's memory for a live allocation, at {step.held:,}; ratio: bytes"
    return Row(what, figure, each, BYTES_GOAL)


def measure(rounds=ROUNDS):
    steps = {n: Step(n, each, rounds) for n, each in PROCESSES}
    rows = [step.row(f"processes: {n:,}, of {step.wanted // n} allocations") for n, step in steps.items()]
    for processes, each, binary in ALLOCATIONS:
        step = Step(processes, each, rounds, binary)
        larger = ", larger tables" if binary == LARGE else ""
        rows.append(step.row(f"allocations: {step.wanted:,}, in processes: {processes}{larger}"))
        if step.wanted == 1_000_000 or larger:
            rows.append(bytes_row(step, steps[1]))
    return rows


if __name__ == "__main__":
    main("Growth", measure, ROUNDS, __doc__)
