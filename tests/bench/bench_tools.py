# SPDX-License-Identifier: Apache-2.0
"""What the measurements share: programs to measure, probes and the peer on them, rounds, the table.

Figures of one table come from one run in which what is compared takes turns, so that a machine that
is slow for a while is slow for all. Minima say what it costs where nobody disturbs.
"""
import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import typing

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "e2e")]

from conftest import BUILD, Daemon, PATIENCE, Workload, wait_until  # noqa: E402
from wire import Connection  # noqa: E402

PROGRAMS = BUILD / "bench"
FUNCTIONS = PROGRAMS / "functions.so"
PEER_ROOT = PROGRAMS / "peer"
PEER_PROGRAMS = {"malloc_enter", "malloc_exit", "free_enter"}
PYTHON = "/usr/bin/python3.11"
CROWD = BUILD / "workloads" / "crowd"
MIB = 1 << 20


class Row(typing.NamedTuple):
    """A line of the table; where there is a goal, `ratio` is what is to keep to it."""

    what: str
    figure: str
    ratio: typing.Optional[float] = None
    goal: typing.Optional[float] = None
    at_least: bool = False

    def cells(self):
        if self.ratio is None:
            return [self.what, self.figure, "", "", ""]
        cells = [self.what, self.figure, f"{self.ratio:.2f}"]
        if self.goal is None:
            return [*cells, "", ""]
        met = self.ratio >= self.goal if self.at_least else self.ratio <= self.goal
        missed_by = f"missed by {abs(self.ratio / self.goal - 1):.1%}"
        return [*cells, f"{'≥' if self.at_least else '≤'} {self.goal:g}", "met" if met else missed_by]


HEAD = ["what", "figure", "ratio", "goal", ""]


def print_table(title, rows):
    print(f"\n### {title}\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    for row in rows:
        print(f"| {' | '.join(row.cells())} |")
    sys.stdout.flush()


def main(title, measure, rounds, usage):
    """The whole of a script that can be run alone."""
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=rounds)
    print_table(title, measure(parser.parse_args().rounds))


class Child:
    """A process that answers a line with a line of JSON."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.greeting = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: exit status {self.process.wait()}")
        return json.loads(line)

    def ask(self, question=""):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


def native_target(depth, libraries):
    return Child([PROGRAMS / "pairs", depth, *libraries])


def python_target(depth, libraries):
    return Child([PYTHON, HERE / "pairs.py", PROGRAMS / "pairs.so", depth, *libraries])


def armed(mode, library):
    return Child([PROGRAMS / "armed", mode, library])


class Libraries(contextlib.ExitStack):
    """Copies of the functions that are called, one for each that looks at them: what probes one does
    not see the others.
    """

    def __enter__(self):
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        return self

    def copy(self, name):
        return shutil.copy(FUNCTIONS, self.directory / f"{name}.so")

    def copy_as(self, name):
        """One that a daemon takes for CUDA's."""
        folder = self.directory / name
        folder.mkdir()
        shutil.copy(FUNCTIONS, folder / "libcuda.so.1")
        return shutil.copy(FUNCTIONS, folder / "libcudart.so.13")

    def copy_for_peer(self):
        """Inside the peer's root, with a name that is short enough for it."""
        handle, path = tempfile.mkstemp(".so", "p", PEER_ROOT)
        os.close(handle)
        self.callback(os.unlink, path)
        return shutil.copy(FUNCTIONS, path)


def peer_programs():
    """The peer's programs as the kernel has them, {id: what is known of it}."""
    found = subprocess.run(["bpftool", "--json", "prog", "show"], capture_output=True, check=True)
    return {p["id"]: p for p in json.loads(found.stdout) if p.get("name") in PEER_PROGRAMS}


class Peer:
    """memleak-libbpf on one process's functions of one library. It says nothing until it ends."""

    SCRIPT = (
        'mount --rbind /sys "$0/sys" && mount -t proc proc "$0/proc" && '
        'exec chroot "$0" stdbuf -oL memleak-libbpf -p "$1" -S peer_ -O "$2" 3600'
    )

    def __init__(self, pid, library):
        others = peer_programs().keys()
        inside = "/" + pathlib.Path(library).name
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", self.SCRIPT, PEER_ROOT, str(pid), inside],
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        wait_until(self.is_ready, "memleak-libbpf", PATIENCE)
        self.ids = peer_programs().keys() - others

    def is_ready(self):
        """It says what it does when all its probes are placed."""
        self.output.seek(0)
        said = self.output.read()
        if self.process.poll() is not None:
            raise RuntimeError(f"memleak-libbpf: {said}")
        return "Tracing" in said

    def program_ns(self):
        """Time in its programs so far, by the kernel's account, and their runs."""
        mine = [p for i, p in peer_programs().items() if i in self.ids]
        return sum(p.get("run_time_ns", 0) for p in mine), sum(p.get("run_cnt", 0) for p in mine)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.output.close()


@contextlib.contextmanager
def kernel_statistics():
    """The kernel keeps account of what BPF programs take, at some cost, until it is left."""
    bpf, enable_stats, run_time = 321, 32, ctypes.c_uint32(0)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(bpf, enable_stats, ctypes.byref(run_time), ctypes.sizeof(run_time))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "BPF statistics")
    try:
        yield
    finally:
        os.close(descriptor)


class Times:
    """What one thing took, round by round."""

    def __init__(self):
        self.values = []

    def add(self, value):
        self.values.append(value)

    @property
    def least(self):
        return min(self.values)

    @property
    def median(self):
        return statistics.median(self.values)

    def less(self, other):
        """What it took more than the other, round by round."""
        rest = Times()
        rest.values = [a - b for a, b in zip(self.values, other.values)]
        return rest


def nanoseconds(times):
    return f"{times.least:,.0f} ns (median {times.median:,.0f})"


def processor_ns(pid):
    """Time on a processor so far, of the process's first thread."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def state_of(pid):
    """R: runs, or waits for a processor; S: sleeps; T: is stopped."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def status(daemon):
    with Connection(daemon.socket) as connection:
        return connection.call("io.srtleak.Status")["parameters"]


def anonymous_memory(pid):
    """Bytes that the process holds of its own."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@contextlib.contextmanager
def pins_folder():
    """A file system for the pins of one daemon after the other."""
    with tempfile.TemporaryDirectory() as path:
        subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
        try:
            yield pathlib.Path(path) / "pins"
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)


class Bench(Libraries):
    """Daemons, what they watch, and libraries that no other has seen; all goes at the end."""

    # Others on the machine may use the simulated libraries too.
    PROGRAMS = (PROGRAMS / "pairs", CROWD, PYTHON)

    def folder(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.directory))

    def daemon(self, *libraries, folder=None, **how):
        only = [word for path in self.PROGRAMS for word in ("--include-exe", str(path))]
        daemon = Daemon(folder or self.folder(), *only, libraries=libraries, **how)
        self.callback(daemon.stop)
        return daemon

    def crowd(self, library, processes, allocations, sites=10):
        """Processes that hold so many allocations each; returns when they do."""
        folder = pathlib.Path(library).parent
        crowd = Workload([CROWD, processes, allocations, sites], SIMCUDA_DIR=str(folder))
        self.callback(crowd.kill)
        crowd.pids = crowd.line()["children"]
        return crowd


def is_settled(daemon, pids, allocations):
    """A condition: the daemon knows each process with at least so many allocations."""

    def condition():
        with Connection(daemon.socket) as connection:
            found = connection.stream("io.srtleak.Ps", "processes")
        counts = {p["pid"]: sum(k["count"] or 0 for k in p["outstanding"].values() if k) for p in found}
        return all(counts.get(pid, -1) >= allocations for pid in pids)

    return condition
