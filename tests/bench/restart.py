#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a restart takes until the tables are complete again.

usage: restart.py [ALLOCATIONS [TIMES]]   default 1,000,000 and 3

Processes hold the allocations, each less than the limit of one process. One of them goes on to take
and give back others all the time ("busy"), or none ("quiet"). The daemon is ended with SIGUSR1 and with SIGKILL and started again;
times count from the successor's start. "ready" is READY=1, when it has read all that the kernel
holds; the first `status` and `ps` (of the client, its own start included) must then be complete.
"""
import contextlib
import itertools
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conftest import BUILD, Daemon, Workload, wait_until  # noqa: E402

HOARD = BUILD / "workloads" / "hoard"
EACH = 250_000
WAYS = {"SIGUSR1": signal.SIGUSR1, "SIGKILL": signal.SIGKILL}
# With each kind of probe; the kernel makes perf links one by one, but adopted ones are there.
ATTACH = ("multi", "perf")
BUSY = {"quiet": 0, "busy": 1}
TOLD = ("ended", "ready", "status", "ps", "again")


@contextlib.contextmanager
def bpffs():
    with tempfile.TemporaryDirectory() as path:
        subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
        try:
            yield pathlib.Path(path)
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def hoards(allocations):
    """Processes that hold so many together."""
    counts = [EACH] * (allocations // EACH) + [allocations % EACH] * (allocations % EACH > 0)
    started = [Workload([HOARD, count]) for count in counts]
    try:
        yield started
    finally:
        for one in started:
            one.kill()


def calm(processes, how_many):
    for one in processes[: len(processes) - how_many]:
        one.process.send_signal(signal.SIGSTOP)


def held(daemon, pids):
    rows = daemon.ctl("ps")["processes"]
    return sum(r["outstanding"]["device"]["count"] for r in rows if r["pid"] in pids)


class Clock:
    def __init__(self):
        self.began = self.last = time.perf_counter()
        self.times = {}

    def lap(self, name):
        now = time.perf_counter()
        self.times[name] = now - self.last
        self.last = now


def restart(daemon, how, allocations, pids, start):
    """(the successor, seconds by step)"""
    clock = Clock()
    daemon.stop(how)
    clock.lap("ended")
    daemon = start()
    clock.lap("ready")
    status = daemon.ctl("status")
    clock.lap("status")
    found = held(daemon, pids)
    clock.lap("ps")
    if status["tables"]["allocations"] < allocations or found < allocations:
        sys.exit(f"not complete: {found} of {allocations}, {status['tables']}")
    # The first answers wait for the news that came meanwhile; later ones do not.
    daemon.ctl("ps")
    clock.lap("again")
    return daemon, {name: clock.times[name] for name in TOLD}


def measure(attach, busy, allocations, times):
    """{how: [seconds by step, ...]}"""
    with tempfile.TemporaryDirectory() as directory, bpffs() as pins:

        def start():
            options = ("--attach", attach, "--include-exe", str(HOARD))
            return Daemon(pathlib.Path(directory), *options, pins=pins / "srtleak")

        daemon = start()
        try:
            with hoards(allocations) as processes:
                for one in processes:
                    one.line()
                calm(processes, busy)
                pids = {one.pid for one in processes}
                wait_until(lambda: held(daemon, pids) >= allocations, "all is known", 300)
                found = {how: [] for how in WAYS}
                for how in [how for _ in range(times) for how in WAYS]:
                    daemon, steps = restart(daemon, WAYS[how], allocations, pids, start)
                    found[how].append(steps)
                return found
        finally:
            daemon.stop()


def main():
    allocations = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"{allocations:,} live allocations, median (longest) of {times} restarts, ms;")
    print(f"{os.cpu_count()} processors")
    print(f"{'links':8}{'load':8}{'ended by':10}" + "".join(f"{name:>18}" for name in TOLD))
    for attach, load in itertools.product(ATTACH, BUSY):
        for how, laps in measure(attach, BUSY[load], allocations, times).items():
            print(f"{attach:8}{load:8}{how:10}", end="")
            for name in TOLD:
                taken = [lap[name] * 1e3 for lap in laps]
                print(f"{f'{statistics.median(taken):,.0f} ({max(taken):,.0f})':>18}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
