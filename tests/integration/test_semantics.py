# SPDX-License-Identifier: Apache-2.0
"""What is not allocated and freed by two calls: physical memory by its references, others' memory
by its openings, graphs; each step against the ledger of the simulated driver. Contexts are in
test_contexts.py and test_context_ends.py, pools in test_pools.py.
"""
import struct

import kernel
import pytest
from churn import assert_conserved
from conftest import wait_until
from puppet import DEVICE, HOST_NUMA, LATE, MIB, OUT, POSIX_FD
from puppet import Given, Pointer, Value, properties
from puppet import owner, puppet  # noqa: F401, fixtures

PAGE = 2 * MIB  # granularity of physical memory
ACCESS = Given(struct.pack("<IiI", DEVICE, 0, 3))  # CUmemAccessDesc: read and write on device 0
NESTED_CALLS = 500
UNMAP_MAX = 216  # mappings that the probes follow through one call
INVALID_VALUE, OUT_OF_MEMORY = 1, 2


def reserve(puppet, pages):
    return puppet.cuMemAddressReserve(OUT, pages * PAGE, 0, 0, 0)


def create(puppet, pages=1, **where):
    return puppet.cuMemCreate(OUT, pages * PAGE, properties(**where), 0)


def map_at(puppet, va, handle, pages=1):
    puppet.cuMemMap(va, pages * PAGE, 0, handle, 0)
    puppet.cuMemSetAccess(va, pages * PAGE, ACCESS, 1)


def unmap(puppet, va, pages=1, **how):
    puppet.cuMemUnmap(va, pages * PAGE, **how)


def only(shown):
    (allocation,) = shown
    return allocation


def references(handles, mappings):
    return {"handles": handles, "mappings": mappings}


def leaving(puppet):
    """How many calls are about to give up a reference."""
    entries = kernel.map_entries(puppet.daemon.process.pid, "referents")
    return sum(entry["formatted"]["value"]["refs"] >> 48 for entry in entries)


def begin_to_fail(puppet, *call):
    """On another thread, where it gives up a reference; to be called for its end."""
    slow_one = puppet.thread("slow")
    slow_one.simcuda_return_late(LATE)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    slow = slow_one.begin(*call)
    wait_until(lambda: leaving(puppet) == 1, "it is under way")
    return lambda: slow(fails=OUT_OF_MEMORY)


# Physical memory


def test_pause_and_resume(puppet):
    """As torch_memory_saver does it: the addresses stay reserved, the memory behind them does not."""
    va, handle = reserve(puppet, 4), create(puppet, 4)
    assert only(puppet.check())["ptr"] is None
    map_at(puppet, va, handle, 4)
    weights = only(puppet.check())
    assert (weights["kind"], weights["size"], weights["device"]) == ("vmm", 4 * PAGE, 0)
    assert (weights["ptr"], weights["handle"]) == (hex(va), hex(handle))
    assert weights["references"] == references(1, 1)

    for _ in range(3):
        backup = puppet.cudaMallocHost(OUT, 4 * PAGE)
        unmap(puppet, va, 4)
        paused = {a["kind"]: a for a in puppet.check()}
        assert paused["vmm"]["ptr"] is None and paused["vmm"]["references"] == references(1, 0)
        puppet.cuMemRelease(handle)
        assert only(puppet.check())["kind"] == "host"

        handle = create(puppet, 4)
        map_at(puppet, va, handle, 4)
        puppet.cudaFreeHost(backup)
        assert only(puppet.check())["ptr"] == hex(va)


def test_handles_retained_by_address(puppet):
    """NCCL's order: the handle is asked for again when it is over, and given up twice."""
    va, handle = reserve(puppet, 1), create(puppet)
    map_at(puppet, va, handle)
    assert puppet.cuMemRetainAllocationHandle(OUT, va) == handle
    assert only(puppet.check())["references"] == references(2, 1)
    puppet.cuMemRelease(handle)
    puppet.cuMemRelease(handle)
    assert only(puppet.check())["references"] == references(0, 1)
    unmap(puppet, va)
    assert puppet.check() == []


def test_expandable_segment(puppet):
    """PyTorch's: the handle is given up as soon as it is mapped; unmapping frees."""
    va = reserve(puppet, 8)
    for page in (0, 1, 2, 4, 6):
        handle = create(puppet)
        map_at(puppet, va + page * PAGE, handle)
        puppet.cuMemRelease(handle)
    assert [a["references"] for a in puppet.check()] == [references(0, 1)] * 5
    unmap(puppet, va + PAGE, 2)
    assert len(puppet.check()) == 3
    # The same handles come again: their names are free.
    handle = create(puppet, 2)
    map_at(puppet, va + PAGE, handle, 2)
    puppet.cuMemRelease(handle)
    assert len(puppet.check()) == 4
    unmap(puppet, va, 3)
    unmap(puppet, va + 4 * PAGE)
    unmap(puppet, va + 6 * PAGE)
    assert puppet.check() == []


def test_one_handle_at_two_addresses(puppet):
    va, handle = reserve(puppet, 8), create(puppet, 2)
    map_at(puppet, va + 6 * PAGE, handle, 2)
    map_at(puppet, va + 2 * PAGE, handle, 2)
    both = only(puppet.check())
    assert (both["ptr"], both["references"]) == (hex(va + 2 * PAGE), references(1, 2))
    puppet.cuMemRelease(handle)
    unmap(puppet, va + 2 * PAGE, 2)
    assert only(puppet.check())["ptr"] == hex(va + 6 * PAGE)
    unmap(puppet, va + 6 * PAGE, 2)
    assert puppet.check() == []


def test_library_that_calls_its_own_functions(puppet):
    """What a call does by other functions of its library is a part of it, and not seen by itself."""
    puppet.cudaFree(0)  # a context
    before = puppet.calls()
    puppet.simcuda_nest_next()
    _, pitch = puppet.cuMemAllocPitch_v2(OUT, OUT, 1000, 100, 4)
    puppet.simcuda_nest_next()
    managed = puppet.cudaMallocManaged(OUT, MIB, 1)
    shown = {a["api"]: a for a in puppet.check()}
    assert set(shown) == {"cuMemAllocPitch_v2", "cudaMallocManaged"}
    assert shown["cuMemAllocPitch_v2"]["size"] == pitch * 100
    puppet.simcuda_nest_next()
    puppet.cuMemFree_v2(managed)
    assert len(puppet.check()) == 1
    after = puppet.calls()
    assert after["allocs_seen"] == before["allocs_seen"] + 2
    assert after["frees_matched"] == before["frees_matched"] + 1
    assert after["frees_unknown"] == 0
    assert puppet.daemon.ctl("status")["events"]["lost"]["lost_return"] == 0


def test_library_that_calls_its_own_functions_while_others_map(puppet):
    """The kernel cannot always say then whose code it is that calls."""
    puppet.cudaFree(0)  # a context
    puppet.ask(mappings=True)
    for _ in range(NESTED_CALLS):
        puppet.simcuda_nest_next()
        puppet.cuMemAllocManaged(OUT, MIB, 1)
    assert {a["api"] for a in puppet.check()} == {"cuMemAllocManaged"}
    assert puppet.calls()["allocs_seen"] == NESTED_CALLS


def test_range_that_is_taken_while_it_is_unmapped(puppet):
    """Another thread's mapping may be there before the call returns, of another size too."""
    va = reserve(puppet, 4)
    for at, pages in ((0, 2), (2, 1), (3, 1)):
        handle = create(puppet, pages)
        map_at(puppet, va + at * PAGE, handle, pages)
        puppet.cuMemRelease(handle)
    assert len(puppet.check()) == 3
    slow_one = puppet.thread("slow")
    slow_one.simcuda_return_late(LATE)
    slow = slow_one.begin("cuMemUnmap", va, 4 * PAGE)
    count = {"thread": None, "function": "simcuda_ledger_count", "arguments": []}
    wait_until(lambda: puppet.ask(**count)["result"] == 0, "the driver has unmapped all")
    handle = create(puppet)
    map_at(puppet, va, handle)
    slow()
    assert only(puppet.check())["references"] == references(1, 1)
    unmap(puppet, va)
    puppet.cuMemRelease(handle)
    assert puppet.check() == []


@pytest.mark.parametrize("fails", [0, OUT_OF_MEMORY], ids=["", "fails"])
@pytest.mark.parametrize("what", ["map", "retain", "midst"])
def test_last_reference_goes_while_one_more_is_made(puppet, what, fails):
    """The memory is there as long as the call is, and then if it has succeeded."""
    va, handle = reserve(puppet, 4), create(puppet, 2)
    call = ("cuMemMap", va, 2 * PAGE, 0, handle, 0)
    if what != "map":
        map_at(puppet, va, handle, 2)
        call = ("cuMemRetainAllocationHandle", OUT, va if what == "retain" else va + PAGE)
    slow_one = puppet.thread("slow")
    slow_one.simcuda_return_late(LATE)
    puppet.simcuda_fail_next(1 if fails else 0, OUT_OF_MEMORY)
    slow = slow_one.begin(*call)
    both = references(1, 1) if what == "map" else references(2, 1)

    def shown():
        return only(puppet.daemon.allocs(puppet.pid))["references"]

    wait_until(lambda: shown() == both, "it is counted")
    puppet.cuMemRelease(handle)
    if what != "map":
        unmap(puppet, va, 2)
    wait_until(lambda: sum(shown().values()) == 1, "the others are gone")
    slow(fails=fails)
    if not fails:
        assert sum(only(puppet.check())["references"].values()) == 1
        if what == "map":
            unmap(puppet, va, 2)
        else:
            puppet.cuMemRelease(handle)
    assert puppet.check() == []


@pytest.mark.parametrize("what", ["release", "unmap"])
def test_other_reference_goes_while_a_call_fails(puppet, what):
    """The one that it was to give up is left."""
    va, handle = reserve(puppet, 1), create(puppet)
    map_at(puppet, va, handle)
    release, unmapping = ("cuMemRelease", handle), ("cuMemUnmap", va, PAGE)
    fails, goes = (release, unmapping) if what == "release" else (unmapping, release)
    slow = begin_to_fail(puppet, *fails)
    getattr(puppet, goes[0])(*goes[1:])
    slow()
    left = references(1, 0) if what == "release" else references(0, 1)
    assert only(puppet.check())["references"] == left
    getattr(puppet, fails[0])(*fails[1:])
    assert puppet.check() == []
    assert puppet.calls()["superseded"] == puppet.calls()["frees_unknown"] == 0


@pytest.mark.parametrize("what", ["map", "retain"])
def test_reference_is_made_while_a_call_fails(puppet, what):
    """It was to give up the only one."""
    va, handle = reserve(puppet, 1), create(puppet)
    fails, makes = ("cuMemRelease", handle), ("cuMemMap", va, PAGE, 0, handle, 0)
    if what == "retain":
        map_at(puppet, va, handle)
        puppet.cuMemRelease(handle)
        fails, makes = ("cuMemUnmap", va, PAGE), ("cuMemRetainAllocationHandle", OUT, va)
    slow = begin_to_fail(puppet, *fails)
    getattr(puppet, makes[0])(*makes[1:])
    slow()
    assert only(puppet.check())["references"] == references(1, 1)
    puppet.cuMemRelease(handle)
    unmap(puppet, va)
    assert puppet.check() == []
    assert puppet.calls()["superseded"] == puppet.calls()["frees_unknown"] == 0


def test_retained_in_the_midst_of_a_mapping(puppet):
    """Only the call's result says what it has retained."""
    va, handle = reserve(puppet, 4), create(puppet, 2)
    map_at(puppet, va, handle, 2)
    assert puppet.cuMemRetainAllocationHandle(OUT, va + PAGE) == handle
    assert only(puppet.check())["references"] == references(2, 1)
    other = create(puppet)
    map_at(puppet, va + 2 * PAGE, other)
    for one in (handle, handle, other):
        puppet.cuMemRelease(one)
    unmap(puppet, va, 3)
    assert puppet.check() == []


def test_one_handle_twice_in_one_range(puppet):
    va, handle = reserve(puppet, 4), create(puppet, 2)
    map_at(puppet, va, handle, 2)
    map_at(puppet, va + 2 * PAGE, handle, 2)
    puppet.cuMemRelease(handle)
    assert only(puppet.check())["references"] == references(0, 2)
    unmap(puppet, va, 4)
    assert puppet.check() == []


@pytest.mark.parametrize("first", ["release", "unmap"])
def test_failed_calls_change_no_reference(puppet, first):
    va, handle = reserve(puppet, 2), create(puppet)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    puppet.cuMemMap(va, PAGE, 0, handle, 0, fails=OUT_OF_MEMORY)
    assert only(puppet.check())["references"] == references(1, 0)
    map_at(puppet, va, handle)
    map_at(puppet, va + PAGE, handle)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    puppet.cuMemRetainAllocationHandle(OUT, va, fails=OUT_OF_MEMORY)
    assert only(puppet.check())["references"] == references(1, 2)
    steps = {
        "release": lambda **how: puppet.cuMemRelease(handle, **how),
        "unmap": lambda **how: unmap(puppet, va, 2, **how),
    }
    left = {"release": references(1, 2), "unmap": references(1, 2)}
    order = [first, *(set(steps) - {first})]
    for step in order:
        puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
        steps[step](fails=OUT_OF_MEMORY)
        assert only(puppet.check())["references"] == left[step]
        steps[step]()
        left = {"release": references(1, 0), "unmap": references(0, 2)}
    assert puppet.check() == []


def test_range_of_which_nothing_is_known(puppet):
    """Nothing can have been missed in it, however large it is, nor where the call has failed."""
    va, handle = reserve(puppet, 2 * UNMAP_MAX + 2), create(puppet)
    map_at(puppet, va, handle)
    puppet.cuMemUnmap(va, (2 * UNMAP_MAX + 1) * PAGE, fails=INVALID_VALUE)
    map_at(puppet, va + PAGE, handle)
    unmap(puppet, va)
    unmap(puppet, va + PAGE)
    puppet.cuMemUnmap(0x7000_0000_0000, 1 << 40, fails=INVALID_VALUE)
    assert puppet.check()[0]["references"] == references(1, 0)


def test_part_of_a_mapping_is_none(puppet):
    """To unmap less than what was mapped, alone or behind a whole mapping, fails and changes nothing."""
    va, small, large = reserve(puppet, 3), create(puppet), create(puppet, 2)
    map_at(puppet, va, small)
    map_at(puppet, va + PAGE, large, 2)
    for at, pages in ((va + PAGE, 1), (va, 2)):
        unmap(puppet, at, pages, fails=INVALID_VALUE)
        assert [a["references"] for a in puppet.check()] == [references(1, 1)] * 2
    puppet.cuMemRelease(small)
    puppet.cuMemRelease(large)
    unmap(puppet, va, 3)
    assert puppet.check() == []


@pytest.mark.parametrize("mappings", [UNMAP_MAX, UNMAP_MAX + 6, 1000])
def test_many_mappings_unmapped_at_once(puppet, mappings):
    """Those beyond what is taken out before the call are taken out after it."""
    va = reserve(puppet, mappings + 1)
    for page in range(mappings):
        handle = create(puppet)
        map_at(puppet, va + page * PAGE, handle)
        puppet.cuMemRelease(handle)
    assert len(puppet.check()) == mappings
    puppet.cuMemUnmap(va, (mappings + 1) * PAGE, fails=INVALID_VALUE)
    assert len(puppet.check()) == mappings
    unmap(puppet, va, mappings)
    assert puppet.check() == []
    assert puppet.calls()["frees_matched"] == mappings
    assert puppet.daemon.ctl("status")["events"]["lost"]["handles"] == 0


def test_memory_where_its_properties_say(puppet):
    """Not where the thread is."""
    puppet.cudaSetDevice(1)
    create(puppet, number=0)
    create(puppet, number=1)
    create(puppet, location=HOST_NUMA, number=3)
    shown = {(a["kind"], a["device"]) for a in puppet.check()}
    assert shown == {("vmm", 0), ("vmm", 1), ("host", None)}


def test_multicast_object_has_no_memory(puppet):
    va = reserve(puppet, 1)
    handle = puppet.cuMulticastCreate(OUT, Given(struct.pack("<IxxxxQQQ", 2, PAGE, POSIX_FD, 0)))
    map_at(puppet, va, handle)
    assert puppet.cuMemRetainAllocationHandle(OUT, va) == handle
    assert puppet.check() == []
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    puppet.cuMemRelease(handle, fails=OUT_OF_MEMORY)
    puppet.cuMemRelease(handle)
    unmap(puppet, va)
    puppet.cuMemRelease(handle)
    assert kernel.map_entries(puppet.daemon.process.pid, "referents") == []
    assert puppet.handles(kernel.SPACE_PHYSICAL) == []
    memory = create(puppet)
    map_at(puppet, va, memory)
    assert only(puppet.check())["ptr"] == hex(va)
    assert puppet.calls()["frees_unknown"] == 0


# Others' memory


def test_imported_physical_memory(puppet):
    own = create(puppet)
    descriptor = puppet.cuMemExportToShareableHandle(OUT, own, POSIX_FD, 0)
    imported = puppet.cuMemImportFromShareableHandle(OUT, descriptor, POSIX_FD)
    va = reserve(puppet, 1)
    map_at(puppet, va, imported)
    kinds = {a["kind"]: a for a in puppet.check()}
    assert kinds["ipc"]["size"] is None and kinds["ipc"]["handle"] == hex(imported)
    assert kinds["ipc"]["references"] == references(1, 1)
    puppet.cuMemRelease(own)
    puppet.cuMemRelease(imported)
    assert only(puppet.check())["references"] == references(0, 1)
    unmap(puppet, va)
    assert puppet.check() == []


@pytest.mark.parametrize("family", ["cuda", "cu"])
def test_openings_and_closings_balance(puppet, owner, family):
    memory = owner.cudaMalloc(OUT, MIB)
    handle = Value(owner.cudaIpcGetMemHandle(Pointer(64), memory))
    opening = puppet.cudaIpcOpenMemHandle if family == "cuda" else puppet.cuIpcOpenMemHandle_v2
    closing = puppet.cudaIpcCloseMemHandle if family == "cuda" else puppet.cuIpcCloseMemHandle
    puppet.cudaFree(0)  # a context
    for opened in (1, 2, 3):
        ptr = opening(OUT, handle, 1)
        assert only(puppet.check())["references"] == references(opened, 0)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    opening(OUT, handle, 1, fails=OUT_OF_MEMORY)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    closing(ptr, fails=OUT_OF_MEMORY)
    for left in (3, 2, 1):
        assert only(puppet.check())["references"] == references(left, 0)
        if left == 1:
            puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
            closing(ptr, fails=OUT_OF_MEMORY)
            assert only(puppet.check())["references"] == references(1, 0)
        closing(ptr)
    assert puppet.check() == []
    assert puppet.row()["outstanding"]["ipc"]["count"] == 0


def test_external_memory_and_its_buffers(puppet):
    """Buffers and arrays are freed by themselves, and counted with the memory that they are of."""
    own = create(puppet)
    descriptor = puppet.cuMemExportToShareableHandle(OUT, own, POSIX_FD, 0)
    puppet.cuMemRelease(own)
    external = puppet.cudaImportExternalMemory(
        OUT, Given(struct.pack("<Ixxxxi12xQI64x", 1, descriptor, PAGE, 0))
    )
    assert only(puppet.check())["kind"] == "ipc"
    buffer = puppet.cudaExternalMemoryGetMappedBuffer(
        OUT, external, Given(struct.pack("<QQI64x", 0, MIB, 0))
    )
    assert len(puppet.check()) == 1
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    puppet.cudaFree(buffer, fails=OUT_OF_MEMORY)
    puppet.cudaFree(buffer)
    assert only(puppet.check())["ptr"] == hex(external)
    puppet.cudaDestroyExternalMemory(external)
    assert puppet.check() == []
    assert puppet.calls()["frees_unknown"] == 0


# Graphs


def node(device, size):
    """CUDA_MEM_ALLOC_NODE_PARAMS."""
    return Pointer(properties(number=device) + struct.pack("<QQQQ", 0, 0, size, 0))


SPARSE, DEFERRED, LAYERED = 0x40, 0x80, 1  # CUDA_ARRAY3D_…
FLOAT = 0x20
CHANNEL = struct.pack("<iiiii", 32, 0, 0, 0, 2)  # cudaChannelFormatDesc


def solid(flags):
    """CUDA_ARRAY3D_DESCRIPTOR."""
    return Given(struct.pack("<QQQIII4x", 64, 64, 2, FLOAT, 1, flags))


@pytest.mark.parametrize("flags", [SPARSE, DEFERRED, SPARSE | LAYERED])
def test_arrays_that_come_without_memory(puppet, flags):
    """They are none; what is mapped into them later is counted for itself."""
    extent = Value(struct.pack("<QQQ", 64, 64, 2))
    puppet.cudaSetDevice(0)
    channel = Given(CHANNEL)
    make = {
        "cuArrayDestroy": lambda flags: puppet.cuArray3DCreate_v2(OUT, solid(flags)),
        "cuMipmappedArrayDestroy": lambda flags: puppet.cuMipmappedArrayCreate(OUT, solid(flags), 3),
        "cudaFreeArray": lambda flags: puppet.cudaMalloc3DArray(OUT, channel, extent, flags),
        "cudaFreeMipmappedArray": lambda flags: puppet.cudaMallocMipmappedArray(
            OUT, channel, extent, 3, flags
        ),
    }
    for given, count in ((flags, 0), (LAYERED, len(make))):
        made = {free: function(given) for free, function in make.items()}
        flat = puppet.cudaMallocArray(OUT, channel, 64, 64, given)
        assert len(puppet.check()) == count + (count > 0)
        for free, array in made.items():
            getattr(puppet, free)(array)
        puppet.cuArrayDestroy(flat)
        assert puppet.check() == []
    calls = puppet.calls()
    assert (calls["allocs_seen"], calls["frees_unknown"]) == (len(make) + 1, 0)


EMPTY, MEM_ALLOC, MEM_FREE = 5, 10, 11  # CUgraphNodeType


def any_node(sort, params=b""):
    """CUgraphNodeParams."""
    return Pointer(struct.pack("<I12x", sort) + params.ljust(240, b"\0"))


def test_memory_nodes_by_their_parameters(puppet):
    """One function adds nodes of every sort; where their parameters are depends on the version."""
    graph = puppet.cudaGraphCreate(OUT, 0)
    ways = [
        lambda params, **how: puppet.cuGraphAddNode(OUT, graph, 0, 2, params, **how),
        lambda params, **how: puppet.cuGraphAddNode_v2(OUT, graph, 0, 0, 2, params, **how),
        lambda params, **how: puppet.cudaGraphAddNode(OUT, graph, 0, 0, 0, params, **how),
    ]
    for size, add in enumerate(ways, 1):
        _, params = add(any_node(MEM_ALLOC, node(0, size * MIB)))
        (address,) = struct.unpack_from("<Q", params, 16 + 112)
        add(any_node(MEM_FREE, struct.pack("<Q", address)))
        add(any_node(EMPTY))
        add(any_node(MEM_FREE, struct.pack("<Q", 1)), fails=1)
    puppet.cudaMalloc(OUT, MIB)
    assert len(puppet.check()) == 1
    assert puppet.row()["graph_nodes"] == {"allocs": 3, "bytes": 6 * MIB, "frees": 3}


def test_graphs_and_their_memory_nodes(puppet):
    """A node's memory is the driver's: it is told of, and in nobody's sums."""
    graph = puppet.cudaGraphCreate(OUT, 0)
    zero = {"allocs": 0, "bytes": 0, "frees": 0}
    assert puppet.row() is None or puppet.row()["graph_nodes"] == zero
    _, params = puppet.cudaGraphAddMemAllocNode(OUT, graph, 0, 0, node(0, 5 * MIB))
    puppet.cuGraphAddMemAllocNode(OUT, graph, 0, 0, node(1, 3 * MIB))
    (address,) = struct.unpack_from("<Q", params, len(params) - 8)
    puppet.cudaGraphAddMemFreeNode(OUT, graph, 0, 0, address)
    puppet.cuGraphAddMemFreeNode(OUT, graph, 0, 0, 1, fails=1)
    executables = [
        puppet.cudaGraphInstantiate(OUT, graph, 0),
        puppet.cuGraphInstantiateWithFlags(OUT, graph, 0),
    ]
    assert [(a["kind"], a["size"]) for a in puppet.check()] == [("graph", None)] * 2
    assert puppet.row()["graph_nodes"] == {"allocs": 2, "bytes": 8 * MIB, "frees": 1}
    outstanding = puppet.row()["outstanding"]
    assert {kind for kind, of in outstanding.items() if of and of["count"]} == {"graph"}
    puppet.cudaGraphDestroy(graph)
    assert len(puppet.check()) == 2
    for executable in executables:
        puppet.cudaGraphExecDestroy(executable)
    assert puppet.check() == []


@pytest.mark.parametrize("what", ["release", "unmap"])
def test_process_is_left_while_a_call_gives_up_the_last_reference(puppet, what):
    """What the call had in hand is counted as what the process had otherwise, and its room is free."""
    va, handle = reserve(puppet, 1), create(puppet)
    call = ("cuMemRelease", handle)
    if what == "unmap":
        map_at(puppet, va, handle)
        puppet.cuMemRelease(handle)
        call = ("cuMemUnmap", va, PAGE)
    puppet.cudaMalloc(OUT, MIB)
    slow_one = puppet.thread("slow")
    slow_one.simcuda_return_late(LATE)
    slow = slow_one.begin(*call)
    wait_until(lambda: leaving(puppet) == 1, "it is under way")
    puppet.daemon.ctl("untrack", puppet.pid)
    slow()
    wait_until(lambda: puppet.calls()["ended"] == 2, "both are counted")
    assert_conserved(puppet.daemon.ctl("status"))
    puppet.writer.close()

    def left():
        maps = ("referents", "mappings", "handles", "grants")
        return [e for name in maps for e in kernel.map_entries(puppet.daemon.process.pid, name)]

    wait_until(lambda: left() == [], "nothing is left")
    shares = kernel.map_entries(puppet.daemon.process.pid, "shares")
    assert not any(max(e["formatted"]["value"]["used"]) >> 31 for e in shares), "none below zero"


def test_opening_beside_closes_of_which_one_fails(puppet, owner):
    """It takes over what that one would have given up, and not what the other gives up."""
    memory = owner.cudaMalloc(OUT, MIB)
    handle = Value(owner.cudaIpcGetMemHandle(Pointer(64), memory))
    puppet.cudaFree(0)  # a context
    a, b = puppet.thread("a"), puppet.thread("b")
    for _ in range(2):
        ptr = puppet.cuIpcOpenMemHandle_v2(OUT, handle, 1)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    a.simcuda_return_late(1000)
    first = a.begin("cuIpcCloseMemHandle", ptr)
    wait_until(lambda: leaving(puppet) == 1, "one close has begun")
    b.simcuda_return_late(LATE)
    second = b.begin("cuIpcCloseMemHandle", ptr)
    wait_until(lambda: leaving(puppet) == 2, "both have")
    puppet.cuIpcOpenMemHandle_v2(OUT, handle, 1)
    first(fails=OUT_OF_MEMORY, alone=True)
    second()
    assert only(puppet.check())["references"] == references(2, 0)
    assert puppet.calls()["allocs_seen"] == 1
    for _ in range(2):
        puppet.cuIpcCloseMemHandle(ptr)
    assert puppet.check() == []


def test_retained_far_behind_the_start_of_its_mapping(puppet):
    va, handle = reserve(puppet, 600), create(puppet, 600)
    map_at(puppet, va, handle, 600)
    puppet.cuMemRelease(handle)
    slow_one = puppet.thread("slow")
    slow_one.simcuda_return_late(LATE)
    slow = slow_one.begin("cuMemRetainAllocationHandle", OUT, va + 599 * PAGE)
    shown = lambda: only(puppet.daemon.allocs(puppet.pid))["references"]  # noqa: E731
    wait_until(lambda: shown() == references(1, 1), "it is counted")
    unmap(puppet, va, 600)
    assert slow() == handle
    assert only(puppet.check())["references"] == references(1, 0)
    puppet.cuMemRelease(handle)
    assert puppet.check() == []
