# SPDX-License-Identifier: Apache-2.0
"""Processes and the daemon come and go: no ghosts, no mix-ups, nothing left behind."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import kernel
import pytest
from conftest import BUILD, LEAK, PATIENCE, ROOT, SIM, as_entries, read_ledger, wait_until

FORKER = ROOT / "tests" / "workloads" / "forker.py"
JUMP = BUILD / "workloads" / "jump"
AT_ONCE = 1.0  # seconds within which an end must show
COUNT = 25
FILLS_THE_RING = 70_000  # events
PID_ATTEMPTS = 300


def holding(workload, *options, count=COUNT, **environment):
    """A leak that has allocated and stays."""
    process = workload(LEAK, *options, "--hold", "100", "--at-once", count, 4096, **environment)
    assert process.line()["phase"] == "loaded"
    assert process.line()["phase"] == "allocated"
    return process


def count_is(daemon, pid, count):
    wait_until(
        lambda: daemon.process_row(pid) and len(daemon.allocs(pid)) == count,
        f"{count} allocations of process {pid}",
    )


def live_of(daemon, *images):
    """Entries of the kernel's live map, of these images."""
    entries = kernel.map_entries(daemon.process.pid, "live")
    return [e for e in entries if e["formatted"]["key"]["image"] in images]


def image_of(daemon, pid):
    """The number that the probes gave to the program that the process runs."""
    for entry in kernel.map_entries(daemon.process.pid, "processes"):
        if entry["formatted"]["key"] == pid:
            return entry["formatted"]["value"]["image"]
    return None


def assert_gone(daemon, pid, image):
    wait_until(lambda: pid not in daemon.pids(), "it is not shown any more", AT_ONCE)
    wait_until(lambda: not live_of(daemon, image), "the live map holds nothing of it", AT_ONCE)
    assert image_of(daemon, pid) is None
    assert daemon.run("allocs", pid).returncode == 5


@pytest.mark.parametrize("how", ["exit", signal.SIGKILL, signal.SIGSEGV])
def test_end_of_a_process(daemon, workload, how):
    process = holding(workload, "--threads", "4")
    count_is(daemon, process.pid, 4 * COUNT)
    image = image_of(daemon, process.pid)
    assert len(live_of(daemon, image)) == 4 * COUNT

    if how == "exit":
        assert process.end() == 0
    else:
        process.process.send_signal(how)
        process.process.wait(timeout=PATIENCE)
    assert_gone(daemon, process.pid, image)


def test_many_short_processes(daemon, workload):
    for _ in range(30):
        process = holding(workload)
        assert process.end() == 0
    last = holding(workload)
    count_is(daemon, last.pid, COUNT)
    image = image_of(daemon, last.pid)
    wait_until(lambda: len(live_of(daemon, *range(image + 1))) == COUNT, "only the last one's")


def test_thread_exit_inside_a_call(start_daemon, workload, tmp_path):
    program = tmp_path / "libcudart.so.12"
    shutil.copy(JUMP, program)
    daemon = start_daemon(libraries=(str(program),))
    process = workload(program, "thread")
    process.step()
    count_is(daemon, process.pid, 7)
    image = image_of(daemon, process.pid)
    process.kill()
    assert_gone(daemon, process.pid, image)


def test_exec_of_another_program(daemon, workload, tmp_path):
    """The second program is another file, so its code and sites have other names."""
    program = tmp_path / "first-program"
    shutil.copy(LEAK, program)
    process = workload(program, "--step", COUNT, 4096, "--exec", "--step", "3", "8192")
    assert process.line()["phase"] == "loaded"
    other = tmp_path / "second-program"
    shutil.copy(LEAK, other)

    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, COUNT)
    image = image_of(daemon, process.pid)
    assert module_of(daemon, process.pid) == {"first-program"}
    process.step()
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: not live_of(daemon, image), "nothing of the first program", AT_ONCE)
    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, 3)
    assert {a["size"] for a in daemon.allocs(process.pid)} == {8192}
