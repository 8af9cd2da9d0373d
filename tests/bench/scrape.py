#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a scrape costs, and what memory the daemon takes, by how much there is to tell.

usage: scrape.py [SCRAPES]   default 100 of each format

Each column is a daemon of its own. "cpu" is time that the daemon ran, "blocked" thus at most: it has
one thread, and events wait while it writes. Times as a client sees them include the client.
"""
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "e2e")]

from conftest import BUILD, Daemon, Workload, wait_until  # noqa: E402
from wire import Connection, http  # noqa: E402

CROWD = BUILD / "workloads" / "crowd"
# Title, crowd: processes, allocations of each, sites of each; options of the daemon.
LOADS = [
    ("idle", None, ()),
    ("10 procs", (10, 20, 10), ()),
    ("1000 procs", (1000, 20, 10), ()),
    ("1000, all series", (1000, 20, 10), ("--max-series", "100000")),
    ("1 M allocs", (4, 250_000, 10), ()),
]
SCRAPES = 100
MIB = 1 << 20
FORMATS = {"classic": "", "openmetrics": "\r\nAccept: application/openmetrics-text"}


def cpu_ms(pid):
    """Time on a processor so far."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def memory(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.split()
    return {name: int(fields[name][0]) * 1024 / MIB for name in ("VmRSS", "RssAnon", "VmHWM")}


def timed(action, pid, times):
    """Calls it so many times; (last result, p50, p99, max, daemon's processor time) in ms."""
    before, taken = cpu_ms(pid), []
    for _ in range(times):
        start = time.perf_counter()
        result = action()
        taken.append((time.perf_counter() - start) * 1e3)
    each = (cpu_ms(pid) - before) / times
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return result, cuts[49], cuts[98], max(taken), each


def ps(daemon):
    with Connection(daemon.socket) as connection:
        return connection.stream("io.srtleak.Ps", "processes")


def start_crowd(daemon, crowd):
    processes, allocations, _ = crowd
    workload = Workload([CROWD, *crowd])
    workload.line()

    def is_known():
        tables = daemon.ctl("status")["tables"]
        # Others on this host may use the libraries too.
        return tables["processes"] >= processes and tables["allocations"] >= processes * allocations

    wait_until(is_known, "all of the crowd", 120)
    return workload


def measure(daemon, scrapes):
    """{row: value}"""
    pid, rows = daemon.process.pid, {}
    for name, accept in FORMATS.items():
        body, p50, p99, longest, cpu = timed(
            lambda a=accept: http(daemon.port, host="localhost" + a).body, pid, scrapes
        )
        rows[f"{name}: bytes"] = f"{len(body):,}"
        rows[f"{name}: p50 / p99 / max ms"] = f"{p50:.1f} / {p99:.1f} / {longest:.1f}"
        rows[f"{name}: cpu ms"] = f"{cpu:.2f}"
    rows["samples"] = f"{sum(not line.startswith(b'#') for line in body.splitlines()):,}"
    _, p50, p99, longest, cpu = timed(lambda: ps(daemon), pid, 20)
    rows["ps: p50 / p99 / max ms"] = f"{p50:.1f} / {p99:.1f} / {longest:.1f}"
    rows["ps: cpu ms"] = f"{cpu:.2f}"
    tables = daemon.ctl("status")["tables"]
    for name, value in memory(pid).items():
        rows[f"{name} MiB"] = f"{value:.1f}"
    rows["tables MiB"] = f"{tables['memory_bytes'] / MIB:.1f}"
    rows["kernel maps MiB"] = f"{tables['kernel_bytes'] / MIB:.1f}"
    rows["processes / allocations"] = f"{tables['processes']} / {tables['allocations']:,}"
    return rows


def column(crowd, options, scrapes):
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(pathlib.Path(directory), *options)
        workload = start_crowd(daemon, crowd) if crowd else None
        try:
            return measure(daemon, scrapes)
        finally:
            if workload:
                workload.kill()
            daemon.stop()


def measure_all(scrapes):
    """{title: {row: value}}"""
    return {title: column(crowd, options, scrapes) for title, crowd, options in LOADS}


def print_table(columns):
    print(f"| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for row in next(iter(columns.values())):
        print(f"| {' | '.join([row, *(found[row] for found in columns.values())])} |")


if __name__ == "__main__":
    print_table(measure_all(int(sys.argv[1]) if len(sys.argv) > 1 else SCRAPES))
