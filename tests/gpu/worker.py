# SPDX-License-Identifier: Apache-2.0
"""Programs that are told what to do, and the daemon and the tracer that watch them."""

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from host import BIN, HERE, TOOLS, own_environment
from report import LeftOut

READY_S = 60
END_S = 30
ALLOC_CONF = {
    "native": "",
    "expandable": "expandable_segments:True",
    "async": "backend:cudaMallocAsync",
}


def end(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Worker:
    """A program that takes commands on stdin and tells what it does in JSON lines on stdout."""

    def __init__(self, arguments, environment):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process, signal.SIGKILL)
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.errors.close()

    def _last_words(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        status = self.process.poll()
        return lines[-1] if lines else "no message" if status is None else f"status {status}"

    def tell(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"{command}: {self._last_words()}") from None

    def hear(self, command):
        """What it says until it is done with that."""
        said = []
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue  # a library has something to say
            said.append(json.loads(line))
            if said[-1].get("done") == command.split()[0]:
                if said[-1]["result"]:
                    raise RuntimeError(f"{command}: {said[-1]['result']}: {self._last_words()}")
                return said
        self.process.wait()
        raise RuntimeError(f"{command}: {self._last_words()}")

    def do(self, command):
        self.tell(command)
        return self.hear(command)


def program(host, static=False):
    path = TOOLS / ("program-static" if static else "program")
    if static and not path.exists():
        raise LeftOut("no libcudart_static.a when tests/gpu was built")
    if not static and not host.runtime():
        raise LeftOut("no libcudart found")
    return Worker([path, host.runtime() or "-"], host.environment)


def torch_program(host, backend="native"):
    if not host.torch:
        raise LeftOut(f"no PyTorch: {host.torch_error}")
    setting = ALLOC_CONF[backend]
    names = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")  # before 2.9, from 2.9 on
    environment = {k: v for k, v in host.environment.items() if k not in names}
    if setting:
        environment.update({name: setting for name in names})
    return Worker([host.python, HERE / "torch_program.py", backend], environment)


def kept(said):
    return [line["kept"] for line in said if "kept" in line]


class Pins:
    """A BPF file system for the time of a test; not mounted where that is not allowed."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="srtleak-gpu-")
        mount = subprocess.run(["mount", "-t", "bpf", "bpf", self.path], capture_output=True)
        self.mounted = mount.returncode == 0
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.path], check=False)
        shutil.rmtree(self.path, ignore_errors=True)


class Daemon:
    """A srtleakd of our own that is ready, for some processes only."""

    def __init__(self, pids, libraries, pins=None):
        self.directory = tempfile.mkdtemp(prefix="srtleak-gpu-")
        self.socket = f"{self.directory}/socket"
        self.log = pathlib.Path(self.directory) / "log"
        self.environment = own_environment()
        arguments = [BIN / "srtleakd", "--socket", self.socket, "--listen", "none"]
        arguments += ["--probe-budget", "none"]  # it measures what they cost
        arguments += ["--pin-dir", f"{pins.path}/srtleak" if pins and pins.mounted else "none"]
        arguments += [word for path in libraries for word in ("--libraries", path)]
        arguments += [word for pid in pids for word in ("--pid", str(pid))]
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"{self.directory}/notify")
        notify.settimeout(READY_S)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(a) for a in arguments],
                stderr=log,
                env={**self.environment, "NOTIFY_SOCKET": f"{self.directory}/notify"},
            )
        try:
            self._wait_ready(notify)
        except BaseException:
            self.__exit__()
            raise
        finally:
            notify.close()

    def _wait_ready(self, notify):
        notify.settimeout(0.2)
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                if notify.recv(256).startswith(b"READY=1"):
                    return
            if self.process.poll() is not None:
                break
        words = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"srtleakd is not ready: {' '.join(words)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self, how=signal.SIGTERM):
        return end(self.process, how)

    def ctl(self, *arguments):
        run = subprocess.run(
            [str(BIN / "srtleakctl"), "--socket", self.socket, "--json", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        answer = json.loads(run.stdout)
        if "error" in answer:
            raise RuntimeError(f"srtleakctl {arguments[0]}: {answer['error']}")
        return answer

    def allocs(self, pid):
        return self.ctl("allocs", pid, "--limit", 0)["allocations"]

    def row(self, pid):
        return next((p for p in self.ctl("ps")["processes"] if p["pid"] == pid), None)


class Tracer:
    """Notes which functions a process calls: [(offset in the file, path of the library)]."""

    def __init__(self, pid, functions, multi):
        self.directory = tempfile.mkdtemp(prefix="srtleak-gpu-")
        self.output = pathlib.Path(self.directory) / "calls"
        self.process = subprocess.Popen(
            [str(TOOLS / "calls"), str(pid), "multi" if multi else "each", str(self.output)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=own_environment(),
        )
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("".join(f"{o:x} {path}\n" for o, path in functions))
            self.process.stdin.close()
        if self.process.stdout.readline() != "ready\n":
            words = self.process.stderr.read().strip()
            self.__exit__()
            raise RuntimeError(f"the tracer is not ready: {words}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        self.process.stdout.close()
        self.process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def lines(self):
        """Ends it and returns what it wrote."""
        end(self.process)
        return self.output.read_text(encoding="ascii").splitlines()


def progress(text):
    print(f"gpu: {text}", file=sys.stderr, flush=True)
