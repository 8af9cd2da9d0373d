# SPDX-License-Identifier: Apache-2.0
"""Stream-ordered memory is on the device of its stream, whichever is the thread's."""
import kernel
import pytest
from conftest import wait_until
from puppet import MIB, OUT, Puppet
from puppet import puppet  # noqa: F401, a fixture

OUT_OF_MEMORY = 2
LEGACY, PER_THREAD = 1, 2  # default streams, as 0 is
CREATE = [
    ("cudaStreamCreate",),
    ("cudaStreamCreateWithFlags", 1),
    ("cudaStreamCreateWithPriority", 1, 0),
    ("cuStreamCreate", 1),
    ("cuStreamCreateWithPriority", 1, 0),
]
DESTROY = ["cudaStreamDestroy", "cuStreamDestroy", "cuStreamDestroy_v2"]
ALLOCATE = ["cudaMallocAsync", "cudaMallocAsync_ptsz", "cuMemAllocAsync", "cuMemAllocAsync_ptsz"]


def make(caller, how, device):
    """A stream of that device, and the thread's is 0 afterwards."""
    function, *flags = how
    caller.cudaSetDevice(device)
    stream = getattr(caller, function)(OUT, *flags)
    caller.cudaSetDevice(0)
    return stream


def where(puppet, ptr):
    """The device shown of what is the daemon's and the driver's in all else too."""
    shown = {x["ptr"]: x for x in puppet.check()}
    return shown[hex(ptr)]["device"]


@pytest.mark.parametrize("how", CREATE)
def test_memory_is_on_the_device_of_its_stream(puppet, how):
    stream = make(puppet, how, 1)
    there = [getattr(puppet, allocate)(OUT, MIB, stream) for allocate in ALLOCATE]
    here = [puppet.cudaMallocAsync(OUT, MIB, default) for default in (0, LEGACY, PER_THREAD)]
    assert {where(puppet, ptr) for ptr in there} == {1}
    assert {where(puppet, ptr) for ptr in here} == {0}
    used = {pool["device"]: pool["count"] for pool in puppet.row()["pools"]}
    assert used == {0: len(here), 1: len(there)}


@pytest.mark.parametrize("destroy", DESTROY)
def test_handle_of_a_stream_that_is_no_more(puppet, destroy):
    """The next stream that gets it is of another device; a stream whose end fails is what it was."""
    stream = make(puppet, CREATE[0], 1)
    puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    getattr(puppet, destroy)(stream, fails=OUT_OF_MEMORY)
    assert where(puppet, puppet.cudaMallocAsync(OUT, MIB, stream)) == 1
    getattr(puppet, destroy)(stream)
    assert puppet.handles(kernel.SPACE_STREAM) == []
    others = [make(puppet, CREATE[0], 0)]
    while others[-1] != stream:
        others.append(make(puppet, CREATE[0], 0))
    assert where(puppet, puppet.cudaMallocAsync(OUT, MIB, stream)) == 0
    assert len(puppet.handles(kernel.SPACE_STREAM)) == len(others)
    assert puppet.calls()["frees_unknown"] == puppet.calls()["failed_frees"] == 0


def test_stream_of_a_part_of_a_device(puppet):
    green = puppet.cuGreenCtxCreate(OUT, 0, 1, 0)
    puppet.cudaSetDevice(0)
    stream = puppet.cuGreenCtxStreamCreate(OUT, green, 1, 0)
    assert where(puppet, puppet.cudaMallocAsync(OUT, MIB, stream)) == 1


def test_streams_that_end_with_their_context(puppet):
    """Nothing of them is kept."""
    kept, contexts = make(puppet, CREATE[0], 1), []
    for _ in range(5):
        contexts.append(puppet.cuCtxCreate_v4(OUT, 0, 0, 1))
        puppet.cuStreamCreate(OUT, 1)
    assert len(puppet.handles(kernel.SPACE_STREAM)) == 6
    for context in contexts:
        puppet.cuCtxDestroy_v2(context)

    def only_one_is_left():
        puppet.cuCtxDestroy_v2(puppet.cuCtxCreate_v4(OUT, 0, 0, 1))  # for the daemon to look
        return [key["addr"] for key, _ in puppet.handles(kernel.SPACE_STREAM)] == [kept]

    wait_until(only_one_is_left, "they are gone")
    assert where(puppet, puppet.cudaMallocAsync(OUT, MIB, kept)) == 1


def test_stream_older_than_the_daemon(workload, start_daemon, tmp_path):
    """Nobody saw of which device it is."""
    puppet = Puppet.start(workload, tmp_path)
    stream = make(puppet, CREATE[0], 1)
    daemon = start_daemon("--pid", str(puppet.pid))
    puppet.cudaSetDevice(1)
    old, default = puppet.cudaMallocAsync(OUT, MIB, stream), puppet.cudaMallocAsync(OUT, MIB, 0)
    new = puppet.cudaMallocAsync(OUT, MIB, make(puppet, CREATE[0], 1))
    shown = {x["ptr"]: x["device"] for x in puppet.shown(daemon)}
    assert shown == {hex(old): None, hex(default): 1, hex(new): 1}
