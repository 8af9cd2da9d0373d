# SPDX-License-Identifier: Apache-2.0
"""File systems that do not answer: nobody but who uses them may notice."""
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import BIN, ROOT, SIM, need, wait_until
from puppet import OUT, Puppet, partial

MIB = 1 << 20
HANGING = ROOT / "tests" / "workloads" / "hanging_fs.py"
SHUNNED_S = 10  # for what was waited for in vain the first time
# CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE
READER_MAY = 1 << 2 | 1 << 19 | 1 << 40
WITHOUT_READER = "files and memory of processes are not read"


class HangingFiles:
    def __init__(self, path):
        need(os.path.exists("/dev/fuse"), "FUSE")
        path.mkdir()
        self.path = path
        self.process = subprocess.Popen(
            ["/usr/bin/python3", HANGING, SIM, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout.readline() == "mounted\n"

    def tell(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{what}\n"

    def end(self):
        self.process.kill()  # what waits for it gets an error
        self.process.wait()
        subprocess.run(["umount", "--lazy", self.path], check=True)


@pytest.fixture
def hanging(tmp_path):
    files = HangingFiles(tmp_path / "hanging")
    yield files
    files.end()


def timeouts(daemon):
    return daemon.ctl("status")["reader"]["timeouts"]


def limit(daemon):
    (found,) = [x for x in daemon.ctl("status")["limits"] if x["name"] == "readers"]
    return found


def test_library_in_one(hanging, start_daemon, workload, tmp_path):
    victim = Puppet.start(workload, tmp_path / "a", SIMCUDA_DIR=str(hanging.path))
    other = Puppet.start(workload, tmp_path / "b")
    hanging.tell("hang")
    daemon = start_daemon()
    wait_until(lambda: {victim.pid, other.pid} <= daemon.pids(), "both are found")
    assert "late_attach" in partial(daemon, victim.pid)
    for count in range(1, 4):
        other.cudaMalloc(OUT, MIB)
        wait_until(lambda n=count: len(daemon.allocs(other.pid)) == n, "it is seen")
    assert timeouts(daemon) > 0 and limit(daemon)["refused"] > 0
    hanging.tell("go")
    wait_until(
        lambda: "file_system" in partial(daemon, victim.pid),
        "it is looked at again when it answers",
        patience=6 * SHUNNED_S,
    )
    wait_until(lambda: limit(daemon)["used"] == 0, "who waited for it has ended")


def test_library_in_one_for_long(hanging, start_daemon, workload, tmp_path, private_libraries):
    """One reader waits for each thing that does not answer, and others go on to read."""
    victim = Puppet.start(workload, tmp_path / "a", SIMCUDA_DIR=str(hanging.path))
    hanging.tell("hang")
    daemon = start_daemon()
    wait_until(lambda: victim.pid in daemon.pids(), "it is found")
    wait_until(lambda: timeouts(daemon) > 0, "it was waited for")
    before = limit(daemon)["refused"]
    time.sleep(SHUNNED_S + 5)  # then it is tried again, twice as long as before
    assert limit(daemon)["refused"] > before
    assert limit(daemon)["used"] <= 2 < timeouts(daemon) + 2  # its two libraries
    libraries = private_libraries("other")
    other = Puppet.start(workload, tmp_path / "b", SIMCUDA_DIR=str(libraries))
    wait_until(
        lambda: any(str(libraries) in p["binary"] for p in daemon.ctl("status")["probes"]),
        "others' libraries are read, when their user is not left alone any more",
        patience=6 * SHUNNED_S,
    )
    other.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(other.pid)) == 1, "its calls are seen")


def test_library_in_one_that_answers(hanging, daemon, workload, tmp_path):
    """It is left alone all the same: while probes are placed the kernel lets nobody fork."""
    user = Puppet.start(workload, tmp_path / "a", SIMCUDA_DIR=str(hanging.path))
    wait_until(lambda: partial(daemon, user.pid) == ["file_system"], "it is found")
    user.cudaMalloc(OUT, MIB)
    assert daemon.allocs(user.pid) == []
    assert not [p for p in daemon.ctl("status")["probes"] if str(hanging.path) in p["binary"]]
    assert "(FUSE)" in daemon.log()


def test_library_in_an_overlay_of_one(hanging, daemon, workload, tmp_path):
    """Its file system is the overlay to who asks it, and FUSE to the kernel."""
    merged, empty = tmp_path / "merged", tmp_path / "empty"
    merged.mkdir()
    empty.mkdir()
    mount = f"mount -t overlay overlay -o lowerdir={hanging.path}:{empty} {merged}"
    wrapper = ("unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh")
    user = Puppet.start(workload, tmp_path / "a", wrapper=wrapper, SIMCUDA_DIR=str(merged))
    wait_until(lambda: partial(daemon, user.pid) == ["file_system"], "it is found")
    user.cudaMalloc(OUT, MIB)
    assert daemon.allocs(user.pid) == []
    assert not [p for p in daemon.ctl("status")["probes"] if str(merged) in p["binary"]]


def test_library_in_one_that_is_named(hanging, start_daemon):
    """Nor is it where nobody maps it yet."""
    daemon = start_daemon(libraries=(str(hanging.path / "libcuda.so.1"),))
    assert not [p for p in daemon.ctl("status")["probes"] if str(hanging.path) in p["binary"]]
    assert "(FUSE)" in daemon.log()


def test_environment_in_one(hanging, start_daemon, workload, tmp_path):
    """It is in a process's memory, which may be mapped from anywhere."""
    victim = Puppet.start(workload, tmp_path / "a", PADDING="x" * 20000)
    victim.cudaMallocHost(OUT, MIB)  # it has looked at its environment then
    victim.ask(environment_from=str(hanging.path / "libcudart.so.13"))
    other = Puppet.start(workload, tmp_path / "b")
    hanging.tell("hang")
    daemon = start_daemon()
    wait_until(lambda: {victim.pid, other.pid} <= daemon.pids(), "both are found")
    victim.cudaMalloc(OUT, MIB)
    other.cudaMalloc(OUT, MIB)
    for puppet in (victim, other):
        wait_until(lambda p=puppet: len(daemon.allocs(p.pid)) == 1, "it is seen")
    wait_until(lambda: timeouts(daemon) > 0, "it was looked at")


def child_of(daemon):
    children = subprocess.run(
        ["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True, check=True
    )
    (child,) = map(int, children.stdout.split())
    return child


def test_what_the_reader_may_do(daemon, workload, tmp_path):
    puppet = Puppet.start(workload, tmp_path / "a")
    wait_until(lambda: puppet.pid in daemon.pids(), "it is found, so there is a reader")
    proc = pathlib.Path(f"/proc/{child_of(daemon)}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) & ~READER_MAY == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert {int(f.name) for f in (proc / "fd").iterdir()} == {0, 1, 2, 3, 4}
    if BIN.name != "sanitize":  # whose own calls a filter would have to know
        assert status["Seccomp"] == "2"
    daemon.stop()
    wait_until(lambda: not proc.exists(), "it ends with the daemon")


def test_reader_that_was_ended(daemon, workload, tmp_path):
    """Another takes its place."""
    puppet = Puppet.start(workload, tmp_path / "a")
    wait_until(lambda: puppet.pid in daemon.pids(), "it is found")
    os.kill(child_of(daemon), signal.SIGKILL)
    late = Puppet.start(workload, tmp_path / "b", SIMCUDA_DIR=str(SIM))
    wait_until(lambda: late.pid in daemon.pids(), "it is found too")
    wait_until(lambda: daemon.process_row(late.pid)["cmdline"], "it is read again")
    assert WITHOUT_READER not in daemon.log()
