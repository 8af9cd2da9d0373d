# SPDX-License-Identifier: Apache-2.0
"""A process that makes CUDA calls on its threads as a test says, and what is to be shown of it."""
import json
import os
import struct

import kernel
import pytest
from churn import assert_conserved, assert_equal_to_ledger, truth
from conftest import ROOT, wait_until

PROGRAM = ROOT / "tests" / "workloads" / "puppet.py"
MIB = 1 << 20
DEVICE, HOST, HOST_NUMA = 1, 2, 3  # CUmemLocationType
POSIX_FD = 1  # CUmemAllocationHandleType


class Given(bytes):
    """An argument: the address of these bytes."""


class Pointer(Given):
    """Likewise; what the call makes of them comes back."""


class Value(bytes):
    """An argument: a structure, by value."""


OUT = Pointer(8)  # where a call stores a number or an address
LATE = 60_000  # ms, for a call that is to last as long as something else takes


def properties(location=DEVICE, number=0, kind=1):
    """CUmemAllocationProp and, longer, CUmemPoolProps."""
    return Given(struct.pack("<IIIi", kind, POSIX_FD, location, number).ljust(88, b"\0"))


def encode(argument):
    if isinstance(argument, Given):
        return {"pointer": argument.hex()}
    if isinstance(argument, Value):
        return {"value": argument.hex()}
    return argument


def decode(given, data):
    return int.from_bytes(data, "little") if len(given) == len(OUT) else data


class Thread:
    """Its functions are those of both libraries. What they store comes back: nothing, one thing or
    a list. `fails`: the error that they are to return, after which there is nothing.
    """

    def __init__(self, puppet, name):
        self.puppet, self.name = puppet, name

    def __getattr__(self, function):
        if not function.startswith(("cu", "simcuda")):
            raise AttributeError(function)

        def call(*arguments, fails=0, begun=False):
            said = self.puppet.ask(
                thread=self.name,
                function=function,
                arguments=[encode(a) for a in arguments],
                **{"end": True} if begun else {},
            )
            assert said["result"] == fails, f"{function}{arguments} returned {said['result']}"
            given = [a for a in arguments if isinstance(a, Given)]
            outs = [
                decode(a, bytes.fromhex(out))
                for a, out in zip(given, said["out"])
                if isinstance(a, Pointer)
            ]
            return None if fails or not outs else outs[0] if len(outs) == 1 else outs

        return call

    def begin(self, function, *arguments):
        """Likewise, without waiting for its end; to be called, with `fails`, for that. All that was
        to be LATE is so until then; `alone`, this call is not, and the others go on to be.
        """
        given = [encode(a) for a in arguments]
        self.puppet.ask(thread=self.name, function=function, arguments=given, later=True)

        def end(alone=False, **how):
            if not alone:
                self.puppet.simcuda_go_on()
            return getattr(self, function)(*arguments, begun=True, **how)

        return end


class Puppet(Thread):
    """Calls of its own are made on the main thread."""

    def __init__(self, directory, reader, writer):
        super().__init__(self, None)
        self.ledger, self.reader, self.writer = directory / "ledger", reader, writer
        self.pid = self.heard()["pid"]

    @classmethod
    def start(cls, workload, directory, *first, wrapper=(), **environment):
        directory.mkdir(exist_ok=True)
        process = workload(*wrapper, "/usr/bin/python3", PROGRAM, **environment).process
        return cls(*first, directory, process.stdout, process.stdin)

    def heard(self):
        line = self.reader.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def tell(self, **what):
        self.writer.write(json.dumps(what) + "\n")
        self.writer.flush()

    def ask(self, **what):
        self.tell(**what)
        return self.heard()

    def thread(self, name):
        return Thread(self, name)

    def become_anew(self):
        """exec: the same process, with nothing of what it had."""
        assert self.ask(exec=True)["pid"] == self.pid

    def patch(self, function, length, result):
        self.ask(patch=function, bytes=length, result=result)

    def filter(self):
        """Gets a seccomp filter."""
        self.ask(filter=True)

    def unpatch(self, function):
        self.ask(unpatch=function)

    def end(self):
        self.writer.close()
        assert self.reader.read() == ""

    def write_ledger(self):
        self.simcuda_ledger_write(Given(str(self.ledger).encode() + b"\0"))

    def shown(self, daemon):
        """What is shown, once it is as much as the simulated driver knows."""
        self.write_ledger()
        count = len(truth(self.ledger))
        wait_until(lambda: self.pid in daemon.pids(), "the process is shown")
        wait_until(lambda: len(daemon.allocs(self.pid)) == count, f"{count} allocations")
        return daemon.allocs(self.pid)

    def fork(self, directory):
        """A child that is a puppet too."""
        directory.mkdir()
        ways = [directory / "in", directory / "out"]
        for way in ways:
            os.mkfifo(way)
        self.tell(fork=[str(way) for way in ways])
        # In the order in which the child opens them.
        writer = open(ways[0], "w", encoding="utf-8")  # pylint: disable=consider-using-with
        reader = open(ways[1], encoding="utf-8")  # pylint: disable=consider-using-with
        return Puppet(directory, reader, writer)


class Watched(Puppet):
    """A puppet with a daemon that has seen all that it ever did."""

    def __init__(self, daemon, directory, reader, writer):
        super().__init__(directory, reader, writer)
        self.daemon = daemon

    def row(self):
        return self.daemon.process_row(self.pid)

    def kept(self, name):
        """Its entries in that map of the probes: [(key, value)]."""
        image = kernel.image(self.daemon.process.pid, self.pid)
        entries = [e["formatted"] for e in kernel.map_entries(self.daemon.process.pid, name)]
        return [(e["key"], e["value"]) for e in entries if e["key"]["image"] == image]

    def handles(self, space):
        return [(key, value) for key, value in self.kept("handles") if key["space"] == space]

    def live(self):
        """Addresses in the live map."""
        return [key["addr"] for key, _ in self.kept("live")]

    def check_entries(self):
        """What is shown equals what the simulated driver knows, entry by entry."""
        self.write_ledger()
        assert_equal_to_ledger(self.daemon, self.pid, self.ledger)

    def check(self, partial=()):
        """Likewise, and so does what is said of the process; returns what is shown."""
        self.check_entries()
        row = self.row()
        assert row is None or row["partial"] == list(partial)
        return self.daemon.allocs(self.pid) if row else []


class Alone(Watched):
    """One whose daemon counts no other's calls."""

    @classmethod
    def begin(cls, workload, start_daemon, directory):
        process = workload("/usr/bin/python3", PROGRAM).process
        daemon = start_daemon("--pid", str(process.pid))
        puppet = cls(daemon, directory, process.stdout, process.stdin)
        puppet.become_anew()  # so that the daemon was there before
        return puppet

    def check(self, partial=()):
        shown = super().check(partial)
        assert_conserved(self.daemon.ctl("status"))
        return shown

    def calls(self):
        return self.daemon.ctl("status")["calls"]


# For tests to import.


@pytest.fixture
def puppet(workload, start_daemon, tmp_path):
    alone = Alone.begin(workload, start_daemon, tmp_path)
    alone.cuInit(0)
    return alone


@pytest.fixture
def owner(workload, tmp_path):
    """Another process, which nobody watches, and whose memory is opened."""
    return Puppet.start(workload, tmp_path / "owner")


@pytest.fixture
def newborn(daemon, workload, tmp_path):
    """A process that the daemon knows from its start: exec does not tell how long it had lived."""
    watched = Watched.start(workload, tmp_path, daemon)
    watched.cuInit(0)
    wait_until(lambda: watched.pid in daemon.pids(), "it is found")
    return watched


def device_of(shown, ptr):
    """The device that is shown of an allocation."""
    (device,) = [a["device"] for a in shown if a["ptr"] == hex(ptr)]
    return device


def partial(daemon, pid):
    return daemon.process_row(pid)["partial"] if pid in daemon.pids() else []


def primary(caller, device):
    return caller.cuDevicePrimaryCtxRetain(OUT, device)


def look_again(puppet):
    """Has the daemon compare its tables with the kernel: what has ended is taken out then."""
    b = puppet.thread("b")
    context = b.cuCtxCreate_v4(OUT, 0, 0, 0)
    ptr = b.cuMemAlloc_v2(OUT, MIB)
    b.cuCtxDestroy_v2(context)
    wait_until(lambda: ptr not in puppet.live(), "it has compared them")


def assert_left(shown, handles, ptrs):
    assert {x["handle"] for x in shown if x["handle"]} == set(map(hex, handles))
    assert {x["ptr"] for x in shown if not x["handle"]} == set(map(hex, ptrs))
