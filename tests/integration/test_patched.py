# SPDX-License-Identifier: Apache-2.0
"""Processes that write over functions in their own memory, as hooking tools do (UCX, Frida): a probe
on such code would end them.
"""
import shutil
import signal

import pytest
from churn import unexplained
from conftest import SIM, built_as, wait_until
from puppet import LATE, OUT, Puppet, partial

MIB = 1 << 20
HOOKED = 42  # what the hook returns
NARROW = built_as("narrow")  # probes four processes one by one, two of a user (tests.mk)
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
LEFT = "taking its probes out though"


@pytest.fixture
def start_puppet(workload, private_libraries, tmp_path):
    """Processes that map the same libraries, which no daemon has seen."""
    directory, started = private_libraries(), []

    def start(wrapper=(), libraries=directory):
        place = tmp_path / f"puppet{len(started)}"
        puppet = Puppet.start(workload, place, wrapper=wrapper, SIMCUDA_DIR=str(libraries))
        started.append(puppet)
        return puppet

    return start


@pytest.fixture(params=[5, 12])
def length(request):
    """Bytes of a jump."""
    return request.param


def test_patched_before(start_puppet, start_daemon, length):
    patched, other = start_puppet(), start_puppet()
    patched.patch("cudaMalloc", length, HOOKED)
    patched.cudaMalloc(OUT, MIB, fails=HOOKED)
    daemon = start_daemon()
    patched.cudaMalloc(OUT, MIB, fails=HOOKED)
    patched.cudaMallocHost(OUT, MIB)
    wait_until(lambda: {patched.pid, other.pid} <= daemon.pids(), "both are found")
    for _ in range(3):
        other.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(other.pid)) == 3, "the other's are seen")
    assert "patched" not in partial(daemon, other.pid)
    assert "patched" in partial(daemon, patched.pid)
    daemon.stop()
    assert LEFT not in daemon.log(), "there are none of ours in it"
    patched.cudaMalloc(OUT, MIB, fails=HOOKED)
    patched.cudaMallocHost(OUT, MIB)
    other.cudaMalloc(OUT, MIB)


def test_one_that_comes_while_another_is_patched(start_puppet, start_daemon, bpffs, length):
    """It is late, as it is probed by itself; once the other has ended nobody is any more."""
    patched, pins = start_puppet(), bpffs / f"comes-{length}"
    patched.patch("cuMemAlloc_v2", length, HOOKED)
    daemon = start_daemon(pins=pins)
    late = start_puppet()
    wait_until(lambda: partial(daemon, late.pid) == ["late_attach"], "it is found")
    held = [late.cudaMalloc(OUT, MIB) for _ in range(3)]
    wait_until(lambda: len(daemon.allocs(late.pid)) == 3, "it is probed")
    patched.cudaMallocManaged(OUT, MIB, 1)
    patched.cuMemAlloc_v2(OUT, MIB, fails=HOOKED)
    patched.end()

    def is_probed_from_the_start():
        fresh = start_puppet()
        fresh.cudaMalloc(OUT, MIB)
        wait_until(lambda: fresh.pid in daemon.pids(), "it is found")
        return partial(daemon, fresh.pid) == []

    wait_until(is_probed_from_the_start, "all are probed again")
    for ptr in held:
        late.cudaFree(ptr)
    wait_until(lambda: daemon.allocs(late.pid) == [], "what it freed is gone")
    late.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(late.pid)) == 1, "it is seen once")
    wait_until(lambda: not list(pins.glob("*/unsettled_*")), "a next daemon can adopt the probes")


def test_killed_while_one_is_patched(start_puppet, restart, length):
    """Its successor looks again, and has what was pinned of other libraries."""
    patched, other = start_puppet(), start_puppet()
    patched.patch("cudaMalloc", length, HOOKED)
    daemon = restart()
    wait_until(lambda: {patched.pid, other.pid} <= daemon.pids(), "both are found")
    other.cudaMalloc(OUT, MIB)

    def meanwhile():
        patched.cudaMalloc(OUT, MIB, fails=HOOKED)
        patched.cudaMallocHost(OUT, MIB)
        other.cudaMalloc(OUT, MIB)

    daemon = restart.again(daemon, signal.SIGKILL, meanwhile=meanwhile)
    patched.cudaMalloc(OUT, MIB, fails=HOOKED)
    other.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(other.pid)) == 3, "through the driver too, meanwhile")
    assert sorted(a["api"] for a in daemon.allocs(other.pid))[0] == "cuMemAlloc_v2"
    assert "patched" in partial(daemon, patched.pid)


def test_more_than_are_probed_one_by_one(start_puppet, start_daemon, open_directory):
    """Half of the room is for one user's; another's is probed though they were there first."""
    libraries = shutil.copytree(SIM, open_directory / "sim")
    patched = start_puppet(libraries=libraries)
    patched.patch("cudaMalloc", 5, HOOKED)
    others = [start_puppet(libraries=libraries) for _ in range(3)]
    stranger = start_puppet(NOBODY, libraries)
    daemon = start_daemon(binary=NARROW)
    wait_until(lambda: {p.pid for p in (*others, stranger)} <= daemon.pids(), "they are found")
    (marked,) = [o for o in others if "limit" in partial(daemon, o.pid)]
    marked.cudaMallocHost(OUT, MIB)
    assert [a["api"] for a in daemon.allocs(marked.pid)] == ["cuMemAllocHost_v2"]
    assert partial(daemon, stranger.pid) == ["late_attach"]
    stranger.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(stranger.pid)) == 1, "it is seen")
    (limit,) = [x for x in daemon.ctl("status")["limits"] if x["name"] == "one_by_one"]
    assert (limit["limit"], limit["used"]) == (4, 3) and limit["refused"] > 0
    others.remove(marked)
    others[0].end()

    def is_probed():
        marked.cudaMalloc(OUT, MIB)
        return "cudaMalloc" in [a["api"] for a in daemon.allocs(marked.pid)]

    wait_until(is_probed, "it has the other's room")


@pytest.mark.parametrize("function", ["cuMemAlloc_v2", "cuMemFree_v2"])
def test_call_that_lasts_while_all_are_probed_again(start_puppet, start_daemon, function):
    """Its return is not seen, and said to be lost; those that come after it are."""
    patched = start_puppet()
    patched.patch("cuMemAlloc_v2", 5, HOOKED)
    daemon = start_daemon()
    puppet = start_puppet()
    wait_until(lambda: partial(daemon, puppet.pid) == ["late_attach"], "it is probed by itself")
    puppet.cuInit(0)
    caller = puppet.thread("caller")
    caller.cudaSetDevice(0)
    held = [caller.cuMemAlloc_v2(OUT, MIB) for _ in range(6)]
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == len(held), "they are seen")
    caller.simcuda_return_late(LATE)
    is_free = function == "cuMemFree_v2"
    end = caller.begin(function, *([held.pop()] if is_free else [OUT, MIB]))
    patched.end()

    def is_one_by_one():
        rows = [b for b in daemon.ctl("status")["probes"] if b["binary"].endswith("libcuda.so.1")]
        return any(b["one_by_one"] is not None for b in rows)

    wait_until(lambda: not is_one_by_one(), "all are probed again")
    end()
    if is_free:
        for ptr in held:
            caller.cuMemFree_v2(ptr)
        count = 0
    else:
        for _ in range(4):
            caller.cuMemAlloc_v2(OUT, MIB)
        count = len(held) + 4
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == count, "the others are seen")
    assert daemon.ctl("status")["events"]["lost"]["lost_return"] == 1
    wait_until(lambda: "lost" in partial(daemon, puppet.pid), "it is marked")


def test_forked_while_one_is_patched(start_puppet, start_daemon, tmp_path):
    """No mapping tells of it."""
    patched, parent = start_puppet(), start_puppet()
    patched.patch("cudaMalloc", 5, HOOKED)
    daemon = start_daemon()
    wait_until(lambda: {patched.pid, parent.pid} <= daemon.pids(), "both are found")
    child = parent.fork(tmp_path / "child")
    wait_until(lambda: child.pid in daemon.pids(), "it is found")
    child.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(child.pid)) == 1, "it is seen")
    assert partial(daemon, child.pid) == ["late_attach"]
    assert "patched" in partial(daemon, patched.pid)


def test_patched_after(start_puppet, start_daemon, bpffs, length):
    """What it writes over is a breakpoint; it may write that back when the daemon is gone."""
    pins = bpffs / f"patched-{length}"
    daemon = start_daemon(pins=pins)
    puppet = start_puppet()
    wait_until(lambda: puppet.pid in daemon.pids(), "it is found")
    puppet.patch("cudaMalloc", length, HOOKED)
    puppet.cudaMalloc(OUT, MIB, fails=HOOKED)
    wait_until(lambda: "patched" in partial(daemon, puppet.pid), "it is marked")
    puppet.cudaMallocHost(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == 1, "other functions are seen")
    daemon.stop()
    puppet.cudaMalloc(OUT, MIB, fails=HOOKED)
    puppet.unpatch("cudaMalloc")
    puppet.cudaMalloc(OUT, MIB)
    puppet.cudaMallocHost(OUT, MIB)

    assert len(list(pins.glob("aside/*"))) == 1
    start_daemon(pins=pins).stop()
    assert len(list(pins.glob("aside/*"))) == 1
    puppet.cudaMalloc(OUT, MIB)
    puppet.end()
    start_daemon(pins=pins).stop()
    assert not pins.exists()


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGKILL])
def test_restart_while_one_is_patched(start_puppet, restart, how):
    """Probes in one process end with the daemon: what was freed meanwhile is not shown for ever."""
    patched, other = start_puppet(), start_puppet()
    patched.patch("cuMemAlloc_v2", 5, HOOKED)
    daemon = restart(libraries=())
    wait_until(lambda: partial(daemon, other.pid) == ["late_attach"], "it is probed by itself")
    other.cuInit(0)
    other.cuCtxSetCurrent(other.cuDevicePrimaryCtxRetain(OUT, 0))
    taken = [other.cuMemAlloc_v2(OUT, MIB) for _ in range(5)]
    wait_until(lambda: len(daemon.allocs(other.pid)) == 5, "they are seen")

    def meanwhile():
        for ptr in taken:
            other.cuMemFree_v2(ptr)
        other.cuMemAlloc_v2(OUT, 7 * MIB)

    daemon = restart.again(daemon, how, libraries=(), meanwhile=meanwhile)
    wait_until(lambda: partial(daemon, other.pid) == ["late_attach"], "it is found again")
    assert daemon.allocs(other.pid) == []
    assert daemon.process_row(other.pid)["outstanding"]["device"] is None
    other.cuMemAlloc_v2(OUT, 3 * MIB)
    wait_until(lambda: len(daemon.allocs(other.pid)) == 1, "what it takes now is seen")
    wait_until(lambda: unexplained(daemon.ctl("status")) == 0, "all is accounted for")


def test_patched_one_has_ended(start_puppet, start_daemon, bpffs):
    """Then nothing need stay, though others map the library."""
    pins = bpffs / "ended"
    daemon = start_daemon(pins=pins)
    patched, _ = start_puppet(), start_puppet()
    wait_until(lambda: patched.pid in daemon.pids(), "it is found")
    patched.patch("cudaMalloc", 5, HOOKED)
    wait_until(lambda: "patched" in partial(daemon, patched.pid), "it is marked")
    patched.end()
    wait_until(lambda: patched.pid not in daemon.pids(), "it has ended")
    daemon.stop()
    assert not pins.exists()
