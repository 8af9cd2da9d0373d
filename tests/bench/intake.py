#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast the daemon takes events out of the ring into its tables.

usage: intake.py [ROUNDS]   default 10

The daemon is stopped, processes fill most of the ring, the daemon goes on. Counted is the processor
time that it takes until it sleeps again, with all in its tables. Then processes
call as fast as they can for some seconds, on all processors, which the daemon has to share; and a
program puts allocations and frees that nobody makes into the ring (flood.c), at a steady rate, while
the daemon has one processor.
"""
import contextlib
import json
import os
import signal
import statistics
import subprocess
import time

from bench_tools import (
    Bench,
    PROGRAMS,
    Row,
    main,
    native_target,
    pins_folder,
    processor_ns,
    python_target,
    state_of,
    status,
    wait_until,
)

ROUNDS = 10
EVENTS = 50_000  # less than the ring holds
WARM_UP = 256  # pairs that a target makes before it counts
DEPTH = 20
REST_S = 0.02  # less than lies between two ticks of the daemon
GOAL = 1e6  # events a second
REPAIR_S = 2.5  # until the tables are repaired, if there is anything to repair
STEADY_PAIRS = 400_000
FLOODS = (1_100_000, 2_000_000, 4_000_000)  # events a second
FLOOD_S = 10
HELD = 500_000  # of each of two processes, together what the tables hold


def used_until_idle(daemon, before):
    """The daemon's processor time, from when it was `before` until it sleeps for a while."""
    pid, last, asleep_since = daemon.process.pid, before, None
    wait_until(lambda: processor_ns(pid) > before, "a turn of the daemon")
    while True:
        now = processor_ns(pid)
        if now != last or state_of(pid) != "S":
            last, asleep_since = now, None
        elif asleep_since is None:
            asleep_since = time.monotonic()
        elif time.monotonic() - asleep_since > REST_S:
            return now - before
        time.sleep(REST_S / 10)


def received(daemon):
    return status(daemon)["events"]["received"]


def fill_and_drain(daemon, targets):
    """Nanoseconds for each event that a burst took, and how many there were."""
    before = received(daemon)
    os.kill(daemon.process.pid, signal.SIGSTOP)
    wait_until(lambda: state_of(daemon.process.pid) == "T", "the daemon's halt")
    used = processor_ns(daemon.process.pid)
    try:
        for target in targets:
            target.ask(f"pairs 0 {EVENTS // 2 // len(targets) - WARM_UP} 1")
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    used = used_until_idle(daemon, used)
    taken = received(daemon) - before
    return used / taken, taken


def drains(what, daemon, targets, rounds):
    fill_and_drain(daemon, targets)  # names the stacks
    each, taken = zip(*(fill_and_drain(daemon, targets) for _ in range(rounds)))
    rate, middle = 1e9 / min(each), 1e9 / statistics.median(each)
    figure = f"{rate:,.0f} events/s (median {middle:,.0f}), bursts of {min(taken):,}"
    return Row(f"{what}; ratio: to {GOAL:,.0f}/s", figure, rate / GOAL, 1.0, at_least=True)


def steady(daemon, targets):
    """All call at once, as fast as they can."""
    before, used, start = status(daemon)["events"], processor_ns(daemon.process.pid), time.monotonic()
    for target in targets:
        target.process.stdin.write(f"pairs 0 {STEADY_PAIRS // len(targets)} 1\n")
        target.process.stdin.flush()
    for target in targets:
        target.answer()
    taken, used = time.monotonic() - start, processor_ns(daemon.process.pid) - used
    time.sleep(REPAIR_S)
    after = status(daemon)["events"]
    lost = after["lost"]["ring_full"] - before["lost"]["ring_full"]
    total = after["received"] - before["received"] + lost
    return Row(
        f"{len(targets)} processes and the daemon on {os.cpu_count()} processors, full speed",
        f"{total / taken:,.0f} events/s for {taken:.1f} s, {lost:,} lost, "
        f"daemon {used / taken / 1e9:.0%} of a processor",
    )


def flood(daemon, pins, pid, rate):
    """The daemon on one processor, what tells it on another."""
    (own,) = (p for p in pins.iterdir() if p.name.startswith("object_"))
    os.sched_setaffinity(daemon.process.pid, {0})
    before, used = status(daemon)["events"], processor_ns(daemon.process.pid)
    run = subprocess.run(
        ["taskset", "-c", "1", PROGRAMS / "flood", own, str(pid), str(rate), str(FLOOD_S)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)
    used = processor_ns(daemon.process.pid) - used
    wait_until(
        lambda: status(daemon)["events"]["received"] - before["received"]
        >= told["events"] - told["lost"],
        "all events received",
    )
    taken = (told["events"] - told["lost"]) / told["seconds"]
    return Row(
        f"told {rate:,} events/s, the daemon on one processor; ratio: what is not lost to {GOAL:,.0f}/s",
        f"{told['events'] / told['seconds']:,.0f} events/s for {told['seconds']:.1f} s, "
        f"{told['lost']:,} lost, daemon {used / told['seconds'] / 1e9:.0%} of it",
        taken / GOAL,
        1.0,
        at_least=True,
    )


def floods():
    with Bench() as bench, pins_folder() as pins:
        library = bench.copy_as("watched")
        daemon = bench.daemon(library, pins=pins)
        with native_target(DEPTH, [f"cuda:{library}"]) as target:
            target.ask(f"pairs 0 {WARM_UP} 1")
            return [flood(daemon, pins, target.process.pid, rate) for rate in FLOODS]


def measure(rounds=ROUNDS):
    with Bench() as bench, contextlib.ExitStack() as exits:
        library = bench.copy_as("watched")
        daemon = bench.daemon(library)

        def start(kind, n):
            return [exits.enter_context(kind(DEPTH, [f"cuda:{library}"])) for _ in range(n)]

        native, python, many = start(native_target, 1), start(python_target, 1), start(native_target, 8)
        rows = [
            drains("one process, native stacks", daemon, native, rounds),
            drains("one process, Python stacks", daemon, python, rounds),
            drains("8 processes", daemon, many, rounds),
            steady(daemon, native + python),
        ]
        holders = start(native_target, 2)
        for holder in holders:
            holder.ask(f"hold 0 {HELD}")
        time.sleep(REPAIR_S)
        rows.append(drains(f"2 processes that hold {HELD:,} each", daemon, holders, rounds))
    return rows + floods()


if __name__ == "__main__":
    main("From the ring into the tables", measure, ROUNDS, __doc__)
