# SPDX-License-Identifier: Apache-2.0
"""A process whose probes take more of its time than they may: less is recorded of it, and all again
when it has become calm. Windows of a second (tests.mk).
"""
import re
import signal

import pytest
from churn import is_settled, unexplained
from conftest import SMALL, wait_until

MIB = 1 << 20

# Calls without a pause, or hardly at all; and allocates when it is told to.
PROGRAM = """
import ctypes, json, os, sys, threading, time
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
busy, kept = threading.Event(), []
def allocate(size):
    p = ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(p), ctypes.c_size_t(size)) == 0
    return p
def work():
    while True:
        assert runtime.cudaFree(allocate(4096)) == 0
        if not busy.is_set():
            time.sleep(1)
threading.Thread(target=work, daemon=True).start()
print(json.dumps({"phase": "ready"}), flush=True)
for line in sys.stdin:
    what, *numbers = line.split()
    if what == "allocate":
        kept += [allocate(int(numbers[1])) for _ in range(int(numbers[0]))]
    elif what == "free":
        while kept:
            assert runtime.cudaFree(kept.pop()) == 0
    else:
        (busy.set if what == "busy" else busy.clear)()
    print(json.dumps({"phase": what}), flush=True)
"""


class Program:
    def __init__(self, workload):
        self.process = workload("/usr/bin/python3.11", "-c", PROGRAM)
        self.pid = self.process.pid
        assert self.process.line()["phase"] == "ready"

    def tell(self, what):
        self.process.step(what)
        assert self.process.line()["phase"] == what.split()[0]


@pytest.fixture
def frugal(start_daemon):
    return start_daemon("--probe-budget", "1", binary=SMALL)


def budget(daemon):
    return daemon.ctl("status")["budget"]


def step(daemon, pid):
    row = daemon.process_row(pid)
    return row["step"] if row else None


def assert_conserved(daemon):
    """At a moment when the program does not call."""

    def holds():
        status = daemon.ctl("status")
        return unexplained(status) == 0 and is_settled(status)

    wait_until(holds, "every allocation is accounted for")


def test_down_and_up_again(frugal, workload):
    """Others notice nothing of it, and are recorded in full."""
    program, other = Program(workload), Program(workload)
    wait_until(lambda: step(frugal, program.pid) and step(frugal, other.pid), "both are known")
    program.tell("allocate 3 65536")
    other.tell("allocate 5 65536")
    program.tell("busy")
    away = wait_until(lambda: budget(frugal)["untracked"], "it is left alone", 40)
    assert [a["pid"] for a in away] == [program.pid] and 0 < away[0]["back_in_s"] <= 24
    assert frugal.process_row(program.pid) is None
    row = frugal.process_row(other.pid)
    assert row["step"] == "full" and row["partial"] == [] and row["probe_share"] < 0.01
    assert len([a for a in frugal.allocs(other.pid) if a["size"] == 65536]) == 5
    told = re.findall(rf"process {program.pid} .*: probes take ([\d.]+) % .*: (.*)", frugal.log())
    assert all(float(share) > 1 for share, _ in told)
    assert [meaning.split()[0] for _, meaning in told] == ["call", "of", "it"], told
    program.tell("calm")
    row = wait_until(lambda: frugal.process_row(program.pid), "it is tracked again", 40)
    assert row["step"] == "sampled" and {"budget", "late_attach"} <= set(row["partial"])
    assert budget(frugal)["sampled"] == 1 and budget(frugal)["untracked"] == []
    wait_until(lambda: step(frugal, program.pid) == "full", "it is recorded in full", 60)
    program.tell("allocate 32 65536")
    wait_until(
        lambda: len([a for a in frugal.allocs(program.pid) if a["size"] == 65536]) == 32,
        "all is recorded again",
    )
    assert "everything is recorded again" in frugal.log()
    assert step(frugal, other.pid) == "full"


def test_process_that_a_person_wants(frugal, workload):
    """It is not left alone; what sampling leaves out is counted, and large allocations are not."""
    program = Program(workload)
    wait_until(lambda: step(frugal, program.pid), "it is known")
    frugal.ctl("track", program.pid)
    program.tell("busy")
    wait_until(lambda: budget(frugal)["refused"] > 0, "it would be left alone", 40)
    assert step(frugal, program.pid) == "sampled" and budget(frugal)["untracked"] == []
    program.tell("calm")
    program.tell("allocate 1600 4096")
    program.tell(f"allocate 10 {4 * MIB}")
    wait_until(
        lambda: sum(a["size"] == 4 * MIB for a in frugal.allocs(program.pid)) == 10,
        "large ones are recorded",
    )
    small = sum(a["size"] == 4096 for a in frugal.allocs(program.pid))
    assert 40 < small < 200  # of 1600 one in 16: 100, with a deviation of 10
    status = frugal.ctl("status")
    assert status["events"]["lost"]["sampled"] >= 1600 - small - 1
    assert_conserved(frugal)
    program.tell("free")
    wait_until(
        lambda: sum(a["size"] > 4096 for a in frugal.allocs(program.pid)) == 0, "they are freed"
    )
    assert_conserved(frugal)


def test_stacks_are_left_out_first(frugal, workload):
    program = Program(workload)
    wait_until(lambda: step(frugal, program.pid), "it is known")

    def stacks(size):
        sites = frugal.ctl("sites", program.pid)["sites"]
        found = [s for s in sites if s["bytes"] and s["bytes"] % size == 0]
        return [len(s["python"]) for s in found]

    program.tell(f"allocate 1 {3 * MIB}")
    wait_until(lambda: stacks(3 * MIB), "it is shown")
    assert all(n > 0 for n in stacks(3 * MIB))
    program.tell("busy")
    wait_until(lambda: step(frugal, program.pid) == "no_stacks", "stacks are left out", 40)
    program.tell("calm")  # or it would go on to be sampled
    program.tell(f"allocate 1 {5 * MIB}")
    wait_until(lambda: stacks(5 * MIB), "it is shown")
    assert stacks(5 * MIB) == [0]


def test_no_budget(start_daemon, workload):
    """Any share is fine; it is told all the same."""
    daemon = start_daemon(binary=SMALL)
    program = Program(workload)
    program.tell("busy")
    row = wait_until(
        lambda: (r := daemon.process_row(program.pid)) and (r["probe_share"] or 0) > 0.01 and r,
        "its share is known",
        40,
    )
    assert row["step"] == "full" and budget(daemon)["limit"] is None
    told = budget(daemon)["trap_ns"]
    assert 100 < told < 1_000_000
    program.tell("calm")
    wait_until(lambda: daemon.process_row(program.pid)["probe_share"] < 0.01, "it is calm")
    assert step(daemon, program.pid) == "full"


@pytest.mark.parametrize("at", ["sampled", "untracked"])
def test_restart_forgets_steps(restart, workload, at):
    """What an earlier daemon has thought of a process holds no longer."""
    daemon = restart("--probe-budget", "1", binary=SMALL)
    program = Program(workload)
    wait_until(lambda: step(daemon, program.pid), "it is known")
    program.tell("busy")
    wait_until(lambda: budget(daemon)[at], "less is recorded of it", 40)
    program.tell("calm")
    daemon = restart.again(daemon, signal.SIGKILL, "--probe-budget", "1", binary=SMALL)
    row = wait_until(lambda: daemon.process_row(program.pid), "it is tracked again")
    assert row["step"] == "full"
    assert ("late_attach" if at == "untracked" else "budget") in row["partial"]
    program.tell("allocate 32 65536")
    wait_until(
        lambda: sum(a["size"] == 65536 for a in daemon.allocs(program.pid)) == 32,
        "all is recorded",
    )
