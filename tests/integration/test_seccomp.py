# SPDX-License-Identifier: Apache-2.0
"""Processes with a seccomp filter that has no place for the system calls of probes."""
import signal
import subprocess

import kernel
import pytest
from conftest import BIN, SIM, wait_until
from puppet import OUT, PROGRAM, Puppet, partial

MIB = 1 << 20
UNSAFE = BIN / "unsafe" / "srtleakd"  # takes the kernel for one that ends them
RUNTIME = SIM / "libcudart.so.13"


# What a process with such a filter does, and how that ends.
NUMBERS = {"getpid": 39, "none": 500}
CALL = "import puppet as p; p.set_filter(); p.libc.syscall({})"


@pytest.mark.parametrize("call,ends", [("getpid", 0), ("none", -signal.SIGSYS)])
def test_the_filter_is_one(call, ends):
    """Without this the next test would show nothing. (335 and 336 pass every filter by now.)"""
    run = subprocess.run(
        ["/usr/bin/python3", "-c", CALL.format(NUMBERS[call])], cwd=PROGRAM.parent, check=False
    )
    assert run.returncode == ends


def test_they_live_and_are_tracked(daemon, workload, tmp_path):
    puppet = Puppet.start(workload, tmp_path)
    puppet.filter()
    for count in range(1, 4):
        puppet.cudaMalloc(OUT, MIB)
        wait_until(lambda n=count: len(daemon.allocs(puppet.pid)) == n, "it is seen")
    assert partial(daemon, puppet.pid) == []


def test_they_are_left_alone_where_the_kernel_would_end_them(start_daemon, workload, tmp_path):
    filtered, other = (Puppet.start(workload, tmp_path / name) for name in "ab")
    filtered.filter()
    daemon = start_daemon(binary=UNSAFE)
    assert "they are left alone" in daemon.log()
    late = Puppet.start(workload, tmp_path / "c")
    wait_until(lambda: {filtered.pid, other.pid, late.pid} <= daemon.pids(), "they are found")
    assert "seccomp" in partial(daemon, filtered.pid)
    for puppet in (filtered, other, late):
        wait_until(
            lambda p=puppet: is_probed(p) == (p is not filtered), "it is probed, or left alone"
        )
        puppet.cudaMalloc(OUT, MIB)
    for puppet in (other, late):
        wait_until(lambda p=puppet: len(daemon.allocs(p.pid)) == 1, "it is seen")
        assert partial(daemon, puppet.pid) == ["late_attach"]
    outstanding = daemon.process_row(filtered.pid)["outstanding"]
    assert set(outstanding.values()) == {None}


def test_forked_where_the_kernel_would_end_them(start_daemon, workload, tmp_path):
    """No mapping tells of it, and all are probed one by one."""
    parent = Puppet.start(workload, tmp_path / "a")
    daemon = start_daemon(binary=UNSAFE)
    wait_until(lambda: parent.pid in daemon.pids(), "it is found")
    child = parent.fork(tmp_path / "b")
    wait_until(lambda: child.pid in daemon.pids(), "it is found too")
    child.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(child.pid)) == 1, "it is seen")
    assert partial(daemon, child.pid) == ["late_attach"]


def is_probed(puppet):
    return kernel.first_byte(puppet.pid, RUNTIME, "cudaMalloc") == kernel.BREAKPOINT
