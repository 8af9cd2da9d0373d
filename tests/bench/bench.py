#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""All measurements, one after the other; the table comes at the end, as Markdown.

usage: bench.py [NAME...]   default all: pair_cost latency contention intake slowdown scale
                          restart scrape

Nothing here passes or fails. What is going on is told on stderr.
"""
import os
import pathlib
import platform
import sys
import time

import contention
import intake
import latency
import pair_cost
import restart
import scale
import scrape
import slowdown
from bench_tools import print_table

MEASURES = {
    "pair_cost": ("Cost of an allocation and its free", pair_cost.measure),
    "latency": ("Time of a call", latency.measure),
    "contention": ("Contention", contention.measure),
    "intake": ("From the ring into the tables", intake.measure),
    "slowdown": ("Throughput of a target", slowdown.measure),
    "scale": ("Growth", scale.measure),
    "restart": ("Restart", restart.measure),
}


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def other_daemons():
    """What an srtleakd of somebody else's finds of ours it probes too, and all is dearer."""
    return sum(comm.read_text() == "srtleakd\n" for comm in pathlib.Path("/proc").glob("[0-9]*/comm"))


def main(names):
    unknown = set(names) - MEASURES.keys() - {"scrape"}
    if unknown:
        sys.exit(f"usage: bench.py [NAME...]: {', '.join([*MEASURES, 'scrape'])}")
    others, found = other_daemons(), {}
    for name, (title, measure) in MEASURES.items():
        if not names or name in names:
            say(title)
            found[title] = measure()
    scrapes = None
    if not names or "scrape" in names:
        say("Scrapes")
        scrapes = scrape.measure_all(scrape.SCRAPES)
    others = max(others, other_daemons())
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\nLinux {platform.release()}, {platform.machine()}, {os.cpu_count()} processors; "
          f"load at the end {load}" + (f"; {others} other srtleakd, so figures are too high" if others else ""))
    for title, rows in found.items():
        print_table(title, rows)
    if scrapes:
        print("\n### Scrapes and memory, by what there is to tell\n")
        scrape.print_table(scrapes)


if __name__ == "__main__":
    main(sys.argv[1:])
