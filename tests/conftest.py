# SPDX-License-Identifier: Apache-2.0
"""What tests of the running daemon share.

Every test has a socket, a port and a directory of its own, waits for conditions instead of sleeping,
and ends only the processes that it started.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
BIN = pathlib.Path(os.environ.get("SRTLEAK_BIN", BUILD))  # build/sanitize for the sanitized run
SIM = BUILD / "simcuda"
LEAK = BUILD / "workloads" / "leak"
# Runs a daemon on a host that has no CUDA toolkit, whose runtime it would probe too.
WITHOUT_TOOLKIT = (
    "unshare", "--mount", "sh", "-c",
    'for d in /usr/local/cuda*/; do [ ! -d "$d" ] || mount -t tmpfs none "$d"; done; exec "$@"', "sh",
)  # fmt: skip


def built_as(name):
    """A daemon with other bounds (tests.mk)."""
    return BUILD / name / BIN.resolve().relative_to(BUILD) / "srtleakd"


# One with a ring buffer of four pages, and that waits for nothing as long as others do.
SMALL = built_as("small")
PATIENCE = 20.0  # seconds
DEADLINE = 120  # seconds, for one test
GRACE = 3.0  # seconds, for a daemon to end


def need(condition, reason):
    """Skips outside CI; in CI what a test needs must be there."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"needed in CI: {reason}")
    pytest.skip(reason)


def wait_until(condition, what, patience=PATIENCE):
    """Returns the first true result of condition()."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def deadline():
    """A test that waits for a process for ever fails instead of stopping the others."""

    def too_late(*_):
        raise AssertionError(f"not done within {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def bpffs(tmp_path_factory):
    """A file system for the pins of this run; what is left in it goes with it."""
    path = tmp_path_factory.mktemp("bpffs")
    mount = subprocess.run(["mount", "-t", "bpf", "bpf", path], capture_output=True, text=True)
    need(mount.returncode == 0, f"the right to mount a bpffs: {mount.stderr}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


class Daemon:
    """A srtleakd that is ready: it said so on its notify socket."""

    def __init__(
        self,
        directory,
        *options,
        libraries=(str(SIM / "*.so.*"),),
        wrapper=(),
        pins="none",
        binary=BIN / "srtleakd",
    ):
        self.pins = pathlib.Path(pins)
        self.socket = str(directory / "srtleak.sock")
        self.port = free_port()
        self.log_path = directory / "srtleakd.log"
        notify_path = str(directory / "notify")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(notify_path)
        notify.settimeout(PATIENCE * 3)  # behind a daemon whose perf links are being taken out
        arguments = [*wrapper, str(binary), "--socket", self.socket]
        arguments += ["--listen", f"127.0.0.1:{self.port}", "--pin-dir", str(pins)]
        # Workloads do nothing but call, and calls are dear on virtual machines.
        arguments += ["--probe-budget", "none"]
        for pattern in libraries:
            arguments += ["--libraries", pattern]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*arguments, *options],
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": notify_path},
            )
        try:
            assert notify.recv(256) == b"READY=1"
        except TimeoutError as error:
            self.process.kill()
            raise AssertionError(f"srtleakd is not ready:\n{self.log()}") from error
        finally:
            notify.close()
            os.unlink(notify_path)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ctl(self, *arguments):
        """One command with --json; returns the object."""
        run = self.run("--json", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return json.loads(run.stdout)

    def run(self, *arguments):
        return subprocess.run(
            [str(BIN / "srtleakctl"), "--socket", self.socket, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def pids(self):
        return {p["pid"] for p in self.ctl("ps")["processes"]}

    def process_row(self, pid):
        return next((p for p in self.ctl("ps")["processes"] if p["pid"] == pid), None)

    def allocs(self, pid):
        return self.ctl("allocs", pid, "--limit", "0")["allocations"]

    def stop(self, how=signal.SIGTERM):
        """Ends it and returns its exit status; a sanitizer's report is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(timeout=PATIENCE * 12)  # perf links, one by one
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
        return status


def can_trace():
    return os.geteuid() == 0 and os.path.exists("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="session")
def leaving(bpffs):
    """Daemons that take their time to end: the kernel waits for each perf link, and the tests that
    follow need not.
    """
    daemons = []
    yield daemons
    for daemon in daemons:
        daemon.stop()


@pytest.fixture
def start_daemon(tmp_path, bpffs, leaving):
    """Starts daemons and ends them at the end of the test, however it goes."""
    need(can_trace(), "root and a kernel with BTF, to load BPF programs")
    daemons = []

    def start(*options, directory=None, **how):
        if directory is None:
            directory = tmp_path / f"daemon{len(daemons)}"
            directory.mkdir()
        how.setdefault("pins", bpffs / f"{tmp_path.name}-{len(daemons)}")
        daemons.append(Daemon(directory, *options, **how))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is not None:
            continue
        daemon.process.send_signal(signal.SIGTERM)
        try:
            daemon.process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            leaving.append(daemon)
        else:
            daemon.stop()


@pytest.fixture
def daemon(start_daemon):
    return start_daemon()


@pytest.fixture
def restart(start_daemon, tmp_path, bpffs):
    """Starts a daemon, and its successors in the same place: ends one as it is told to, runs what
    happens meanwhile, and starts the next.
    """
    directory = tmp_path / "daemon"
    directory.mkdir()
    pins = bpffs / tmp_path.name

    def start(*options, **more):
        return start_daemon(*options, directory=directory, pins=pins, **more)

    def again(daemon, how, *options, meanwhile=lambda: None, **more):
        assert daemon.stop(how) == (-how if how == signal.SIGKILL else 0)
        meanwhile()
        return start(*options, **more)

    start.again = again
    return start


class Workload:
    """A process that speaks JSON lines on stdout and takes lines on stdin."""

    def __init__(self, arguments, **environment):
        self.process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SIMCUDA_DIR": str(SIM), "SIMCUDA_INIT_MS": "1", **environment},
        )
        self.pid = self.process.pid

    def line(self):
        return json.loads(self.process.stdout.readline())

    def step(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self):
        """Lets it end by itself; returns its exit status."""
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass


@pytest.fixture
def workload():
    started = []

    def start(*arguments, **environment):
        started.append(Workload(arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def step_to(process, phase):
    """Lets a stepping leak go on to its next phase."""
    process.step()
    assert process.line()["phase"] == phase


def count_is(daemon, pid, count):
    wait_until(
        lambda: daemon.process_row(pid) and len(daemon.allocs(pid)) == count,
        f"{count} allocations of process {pid}",
    )


def read_ledger(path):
    """The truth as the simulated driver knows it, as a set of comparable entries."""
    with open(path, encoding="utf-8") as ledger:
        rows = [json.loads(line) for line in ledger]
    return {(r["ptr"] or r["handle"], r["size"], r["kind"], r["api"]) for r in rows}


def as_entries(allocations):
    return {(a["ptr"] or a["handle"], a["size"] or 0, a["kind"], a["api"]) for a in allocations}


@pytest.fixture
def private_libraries(tmp_path):
    """Copies of the simulated libraries that no daemon has seen."""

    def copy(name="private"):
        directory = tmp_path / name
        shutil.copytree(SIM, directory)
        return directory

    return copy


@pytest.fixture
def open_directory():
    """One that others can enter, with a client that they can run."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        shutil.copy2(BIN / "srtleakctl", path)
        yield pathlib.Path(path)
