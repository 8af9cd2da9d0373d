# SPDX-License-Identifier: Apache-2.0
"""Processes that write over functions in their own memory, as hooking tools do (UCX, Frida): a probe
on such code would end them.
"""
import pytest
from conftest import BIN, wait_until
from puppet import OUT, Puppet, partial

MIB = 1 << 20
HOOKED = 42  # what the hook returns


@pytest.fixture
def start_puppet(workload, private_libraries, tmp_path):
    """Processes that map the same libraries, which no daemon has seen."""
    directory, started = private_libraries(), []

    def start():
        place = tmp_path / f"puppet{len(started)}"
        started.append(Puppet.start(workload, place, SIMCUDA_DIR=str(directory)))
        return started[-1]

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
    patched.cudaMalloc(OUT, MIB, fails=HOOKED)
    patched.cudaMallocHost(OUT, MIB)
    other.cudaMalloc(OUT, MIB)


def test_one_that_comes_while_another_is_patched(start_puppet, start_daemon, length):
    """It is late, as it is probed by itself; once the other has ended nobody is any more."""
    patched = start_puppet()
    patched.patch("cuMemAlloc_v2", length, HOOKED)
    daemon = start_daemon()
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
