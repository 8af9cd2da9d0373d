# SPDX-License-Identifier: Apache-2.0
"""Processes and the daemon come and go: no ghosts, no mix-ups, nothing left behind."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import kernel
import pytest
from conftest import (
    BIN,
    BUILD,
    LEAK,
    PATIENCE,
    ROOT,
    SMALL,
    WITHOUT_TOOLKIT,
    count_is,
    wait_until,
)
from puppet import OUT, Puppet

FORKER = ROOT / "tests" / "workloads" / "forker.py"
JUMP = BUILD / "workloads" / "jump"
AT_ONCE = 1.0  # seconds within which an end must show
COUNT = 25
FILLS_THE_RING = 70_000  # events
PID_ATTEMPTS = 300
BREAKPOINT = 0xCC  # x86


def holding(workload, *options, count=COUNT, **environment):
    """A leak that has allocated and stays."""
    process = workload(LEAK, *options, "--hold", "100", "--at-once", count, 4096, **environment)
    assert process.line()["phase"] == "loaded"
    assert process.line()["phase"] == "allocated"
    return process


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


def test_nothing_to_show(start_daemon):
    daemon = start_daemon("--pid", str(os.getpid()))
    command = [BIN / "srtleakctl", "--socket", daemon.socket, "--json", "ps"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=5)
    assert json.loads(run.stdout) == {"processes": []}


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


PYTHON_HOLDER = """
import ctypes, os, sys
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
def allocate():
    ptr = ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(4096)) == 0
def fill(count):
    for _ in range(count):
        allocate()
print('{"phase": "loaded"}', flush=True)
sys.stdin.readline()
fill(int(sys.argv[1]))
print('{"phase": "allocated"}', flush=True)
sys.stdin.readline()
os.execv(sys.argv[2], sys.argv[2:])
"""


def functions_of(daemon, pid):
    """The Python functions, and the modules of native code, in all of a process's stacks."""
    sites = daemon.ctl("sites", pid, "--limit", "0")["sites"]
    return (
        {frame["function"] for site in sites for frame in site["python"]},
        {frame["module"] for site in sites for frame in site["native"]},
    )


def test_exec_of_another_program(daemon, workload, tmp_path):
    other = tmp_path / "other-program"
    shutil.copy(LEAK, other)
    process = workload(
        "/usr/bin/python3", "-c", PYTHON_HOLDER, COUNT, other, "--step", "3", "8192"
    )
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: process.pid in daemon.pids(), "the first program is known")
    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, COUNT)
    image = image_of(daemon, process.pid)
    functions, modules = functions_of(daemon, process.pid)
    assert functions == {"allocate", "fill", "<module>"} and other.name not in modules

    process.step()
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: not live_of(daemon, image), "nothing of the first program", AT_ONCE)
    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, 3)
    assert {a["size"] for a in daemon.allocs(process.pid)} == {8192}
    functions, modules = functions_of(daemon, process.pid)
    assert functions == set() and other.name in modules


def lose_events(daemon, workload, *options):
    """A process whose last news found the ring full; the daemon is stopped."""
    process = workload(LEAK, "--step", FILLS_THE_RING, 4096, *options)
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: process.pid in daemon.pids(), "it is known")
    daemon.process.send_signal(signal.SIGSTOP)
    process.step()
    assert process.line()["phase"] == "allocated"
    return process


def test_exit_that_was_lost(daemon, workload):
    process = lose_events(daemon, workload)
    process.kill()
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: process.pid not in daemon.pids(), "it is not shown any more")
    wait_until(lambda: image_of(daemon, process.pid) is None, "its image is over")
    assert daemon.ctl("status")["events"]["lost"]["ring_full"] > 0
    wait_until(
        lambda: len(kernel.map_entries(daemon.process.pid, "live")) < FILLS_THE_RING,
        "the live map holds nothing of it",
    )


def test_exec_that_was_lost(daemon, workload):
    process = lose_events(daemon, workload, "--exec", "--step", "3", "8192")
    process.step()
    assert process.line()["phase"] == "loaded"
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: not daemon.process_row(process.pid) or not daemon.allocs(process.pid),
        "nothing of the first program is shown",
        patience=5,
    )
    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, 3)


def test_fork_without_exec(daemon, workload):
    parent = holding(workload, "--fork")
    count_is(daemon, parent.pid, COUNT)
    children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    (child,) = map(int, children)
    assert child not in daemon.pids() and image_of(daemon, child) is None
    assert daemon.run("allocs", child).returncode == 5

    os.kill(child, signal.SIGKILL)
    wait_until(lambda: " Z " in pathlib.Path(f"/proc/{child}/stat").read_text(), "its end")
    count_is(daemon, parent.pid, COUNT)


def test_forked_python_child(daemon, workload):
    """Its first allocation already has its Python stack, before the daemon has seen the child."""
    parent = workload("/usr/bin/python3", FORKER)
    assert parent.line()["pid"] == parent.pid
    wait_until(lambda: parent.pid in daemon.pids(), "the parent is known")
    parent.step()
    child = parent.line()["child"]
    assert child not in daemon.pids()
    parent.step()
    assert parent.line() == {"child": child, "phase": "allocated"}

    count_is(daemon, child, 1)
    (site,) = daemon.ctl("sites", child)["sites"]
    frames = [(f["function"], pathlib.Path(f["file"]).name) for f in site["python"]]
    assert frames[:2] == [("first_allocation", "forker.py"), ("child_main", "forker.py")]
    assert frames[-1] == ("<module>", "forker.py")
    assert daemon.allocs(parent.pid) == []


def start_as(pid, workload, *options):
    """A leak with this very pid, which its predecessor has left; bounded attempts."""
    for _ in range(PID_ATTEMPTS):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = workload(LEAK, *options)
        if process.pid == pid:
            return process
        process.kill()
    pytest.skip(f"pid {pid} could not be had again in {PID_ATTEMPTS} attempts")


def test_numbers_that_come_round(start_daemon, workload, tmp_path):
    """There is no image 0, and later ones are later though their numbers are less."""
    daemon = start_daemon(binary=SMALL)
    first = Puppet.start(workload, tmp_path / "first")
    first.cudaMalloc(OUT, 4096)
    count_is(daemon, first.pid, 1)
    kernel.set_last_image(daemon.process.pid, 2**32 - 2)
    later = [Puppet.start(workload, tmp_path / str(i)) for i in range(3)]
    for puppet in later:
        puppet.cudaMalloc(OUT, 4096)  # the one that would be 0 is refused, …
        puppet.cudaMalloc(OUT, 4096)
    assert 0 not in {image_of(daemon, puppet.pid) for puppet in later}
    daemon.process.send_signal(signal.SIGSTOP)
    for _ in range(400):  # more than the ring has room for
        first.cudaMalloc(OUT, 4096)
    daemon.process.send_signal(signal.SIGCONT)
    count_is(daemon, first.pid, 401)
    counts = sorted(len(daemon.allocs(puppet.pid)) for puppet in later)
    assert counts in ([1, 2, 2], [2, 2, 2])  # … and asks again
    assert daemon.ctl("status")["events"]["lost"]["ring_full"] > 0


@pytest.mark.parametrize("stopped", [False, True], ids=["seen", "unseen"])
def test_pid_used_again(daemon, workload, stopped):
    """Unseen: both processes' news wait in the ring together."""
    first = holding(workload)
    count_is(daemon, first.pid, COUNT)
    image, pid = image_of(daemon, first.pid), first.pid
    started_at = daemon.process_row(pid)["started_at"]
    if stopped:
        daemon.process.send_signal(signal.SIGSTOP)
    first.kill()

    second = start_as(pid, workload, "--at-once", "--hold", "100", "3", "8192")
    assert second.line()["phase"] == "loaded"
    assert second.line()["phase"] == "allocated"
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: daemon.process_row(pid) and daemon.process_row(pid)["started_at"] != started_at,
        "the successor is shown",
    )
    count_is(daemon, pid, 3)
    assert {a["size"] for a in daemon.allocs(pid)} == {8192}
    (site,) = daemon.ctl("sites", pid)["sites"]
    assert (site["count"], site["allocs_total"]) == (3, 3)
    assert not live_of(daemon, image)


@pytest.mark.parametrize(
    "attach, how",
    [("multi", signal.SIGTERM), ("multi", signal.SIGINT), ("multi", signal.SIGUSR1)]
    + [("perf", signal.SIGTERM)],
)
def test_end_of_the_daemon(start_daemon, workload, tmp_path, attach, how):
    library = tmp_path / "libcudart.so.12"  # of two functions: perf links take their time to go
    shutil.copy(JUMP, library)
    process = workload(library, "return")
    assert process.line() == {"phase": "started"}
    how_started = {"libraries": (str(library),), "pins": "none", "wrapper": WITHOUT_TOOLKIT}
    daemon = start_daemon("--attach", attach, **how_started)
    held = kernel.held_by(daemon.process.pid)
    assert {kind for kind, _ in held} == {"prog", "map", "link"} and held <= kernel.objects()
    assert kernel.first_byte(process.pid, library, "cudaMalloc") == BREAKPOINT

    assert daemon.stop(how) == 0
    assert not os.path.exists(daemon.socket)
    wait_until(lambda: not held & kernel.objects(), "no program, map or link is left")
    original = kernel.file_byte(library, "cudaMalloc")
    assert original != BREAKPOINT
    wait_until(
        lambda: kernel.first_byte(process.pid, library, "cudaMalloc") == original
        or kernel.other_daemons(daemon.process.pid),
        "the function is what it was",
    )
    process.step()
    assert process.line() == {"phase": "kept"}


def test_killed_daemon_without_pins(start_daemon, workload, tmp_path):
    """Its successor takes over socket and port, and says what it could not see."""
    daemon = start_daemon(directory=tmp_path, pins="none")
    process = workload(LEAK, "--step", COUNT, 4096, "--then-free")
    process.line()
    process.step()
    assert process.line()["phase"] == "allocated"
    count_is(daemon, process.pid, COUNT)
    held = kernel.held_by(daemon.process.pid)

    daemon.process.kill()
    daemon.process.wait(timeout=PATIENCE)
    wait_until(lambda: not held & kernel.objects(), "no program, map or link is left")
    assert os.path.exists(daemon.socket)

    successor = start_daemon(directory=tmp_path)
    row = wait_until(lambda: successor.process_row(process.pid), "it is found again")
    assert "late_attach" in row["partial"]
    process.step()
    assert process.line()["phase"] == "freed"
    wait_until(
        lambda: successor.ctl("status")["calls"]["frees_unknown"] >= COUNT,
        "frees of what was never seen are counted",
    )
    assert successor.allocs(process.pid) == []
