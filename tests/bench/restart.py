#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a new daemon needs until its tables are complete, with a million live allocations.

usage: restart.py [ROUNDS]   default 5

Counted from the start of the new daemon's process: until it says that it is ready, and until the
first reply to a client with all allocations in it. Once after SIGUSR1, as in `systemctl restart`,
and once after SIGKILL. Beside it, how long the old one takes to go.
"""
import contextlib
import signal
import threading
import time

from bench_tools import (
    Bench,
    Connection,
    Row,
    Times,
    is_settled,
    main,
    pins_folder,
    wait_until,
)

ROUNDS = 5
CROWD = (4, 250_000)  # processes, allocations of each
HOW = {"SIGUSR1": signal.SIGUSR1, "SIGKILL": signal.SIGKILL}
PATIENCE_S = 60


class Watcher(threading.Thread):
    """A client that asks, from before there is a daemon, until it is told of all allocations."""

    def __init__(self, socket, allocations):
        super().__init__(daemon=True)
        self.socket, self.allocations, self.done_at = socket, allocations, None

    def run(self):
        while self.done_at is None:
            with contextlib.suppress(OSError, TypeError):
                with Connection(self.socket) as connection:
                    while self.done_at is None:
                        tables = connection.call("io.srtleak.Status")["parameters"]["tables"]
                        if tables["allocations"] >= self.allocations:
                            self.done_at = time.monotonic()
            time.sleep(0.002)


def restart(bench, old, how, library, pins, allocations):
    """The new daemon; milliseconds until the old one had gone, the new one was ready, and knew all."""
    start = time.monotonic()
    old.stop(how)
    gone = time.monotonic()
    folder = bench.folder()
    watcher = Watcher(str(folder / "srtleak.sock"), allocations)
    watcher.start()
    began = time.monotonic()
    new = bench.daemon(library, folder=folder, pins=pins)
    ready = time.monotonic()
    watcher.join(PATIENCE_S)
    return new, [(gone - start) * 1e3, (ready - began) * 1e3, (watcher.done_at - began) * 1e3]


def measure(rounds=ROUNDS):
    found = {name: [Times() for _ in range(3)] for name in HOW}
    allocations = CROWD[0] * CROWD[1]
    with pins_folder() as pins, Bench() as bench:
        library = bench.copy_as("watched")
        daemon = bench.daemon(library, pins=pins)
        held = bench.crowd(library, *CROWD)
        wait_until(is_settled(daemon, held.pids, CROWD[1]), "all that is held", PATIENCE_S)
        for _ in range(rounds):
            for name, how in HOW.items():
                daemon, taken = restart(bench, daemon, how, library, pins, allocations)
                for times, one in zip(found[name], taken):
                    times.add(one)
        assert "adopted" in daemon.log(), daemon.log()
    return [
        Row(f"after {name}, 1 M allocations: until tables are complete",
            f"{done.least:.0f} ms (median {done.median:.0f}); ready after {ready.least:.0f} ms, "
            f"the old one gone after {gone.least:.0f} ms")
        for name, (gone, ready, done) in found.items()
    ]


if __name__ == "__main__":
    main("Restart", measure, ROUNDS, __doc__)
