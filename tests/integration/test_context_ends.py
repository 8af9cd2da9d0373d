# SPDX-License-Identifier: Apache-2.0
"""What ends with a context, and when one ends."""
import functools
import struct

import kernel
import pytest
from conftest import wait_until
from puppet import LATE, MIB, OUT, POSIX_FD
from puppet import Given, Pointer, Puppet, Value, properties
from puppet import assert_left, device_of, look_again, partial, primary
from puppet import newborn, owner, puppet  # noqa: F401, fixtures

INVALID_VALUE, OUT_OF_MEMORY, NO_CONTEXT = 1, 2, 201
ENDS_KEPT_TOGETHER = 8  # NUMBERS_ALIKE


def fill(caller, owner):
    """Something of each kind in the thread's context; what outlives it, as it is in no context: by
    handle and by address.
    """
    memory = owner.cudaMalloc(OUT, MIB)
    handle = Value(owner.cudaIpcGetMemHandle(Pointer(64), memory))
    caller.cudaMalloc(OUT, MIB)
    caller.cudaMallocPitch(OUT, OUT, 1000, 100)
    caller.cudaMallocManaged(OUT, 3 * MIB, 1)
    caller.cudaMallocHost(OUT, MIB)
    caller.cudaHostRegister(0x7000_0000_0000 + memory % (1 << 40), MIB, 0)
    pooled = caller.cudaMallocAsync(OUT, MIB, 0)
    caller.cuMemAlloc_v2(OUT, MIB)
    caller.cuArrayCreate_v2(OUT, Given(struct.pack("<QQII", 64, 64, 0x20, 4)))
    caller.cudaIpcOpenMemHandle(OUT, handle, 1)
    caller.cudaIpcOpenMemHandle(OUT, handle, 1)
    caller.cudaGraphInstantiate(OUT, caller.cudaGraphCreate(OUT, 0), 0)
    physical = caller.cuMemCreate(OUT, 2 * MIB, properties(), 0)
    descriptor = caller.cuMemExportToShareableHandle(OUT, physical, POSIX_FD, 0)
    imported = caller.cuMemImportFromShareableHandle(OUT, descriptor, POSIX_FD)
    descriptor = caller.cuMemExportToShareableHandle(OUT, physical, POSIX_FD, 0)
    caller.cudaImportExternalMemory(
        OUT, Given(struct.pack("<Ixxxxi12xQI64x", 1, descriptor, 2 * MIB, 0))
    )
    return {physical, imported}, {pooled}


def end(caller, handles, ptrs):
    for handle in handles:
        caller.cuMemRelease(handle)
    for ptr in ptrs:
        caller.cuMemFreeAsync(ptr, 0)


KINDS = {"device", "managed", "host", "array", "ipc", "graph", "vmm"}


def reset_primary(caller, **how):
    caller.cuDevicePrimaryCtxReset_v2(1, **how)


def reset_primary_v1(caller, **how):
    caller.cuDevicePrimaryCtxReset(1, **how)


def reset_device(caller, **how):
    caller.cudaDeviceReset(**how)


@pytest.mark.parametrize("reset", [reset_device, reset_primary, reset_primary_v1])
def test_reset_takes_all_of_the_device(puppet, owner, reset):
    """All but physical memory and that of pools, which are in no context."""
    a, b = puppet.thread("a"), puppet.thread("b")
    other = puppet.cudaMalloc(OUT, MIB)
    a.cudaSetDevice(1)
    b.cudaSetDevice(1)
    b.cudaMalloc(OUT, MIB)
    for _ in range(2):  # at the same addresses
        handles, ptrs = fill(a, owner)
        assert {x["kind"] for x in puppet.check()} == KINDS
        puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
        reset(a, fails=OUT_OF_MEMORY)
        assert {x["kind"] for x in puppet.check()} == KINDS
        reset(a)
        assert_left(puppet.check(), handles, ptrs | {other})
        a.cudaSetDevice(1)
        end(a, handles, ptrs)
        puppet.check()
        b.cudaSetDevice(1)
        assert device_of(puppet.check(), other) == 0
        ptr = b.cudaMalloc(OUT, MIB)
        assert device_of(puppet.check(), ptr) == 1


def test_reset_in_a_thread_that_never_chose(puppet):
    kept = puppet.thread("b")
    kept.cudaSetDevice(1)
    ptr = kept.cudaMalloc(OUT, MIB)
    puppet.cudaMalloc(OUT, MIB)
    puppet.thread("c").cudaDeviceReset()
    assert {x["ptr"] for x in puppet.check()} == {hex(ptr)}


def test_reset_in_a_context_of_its_own(puppet):
    """The runtime gives up no more than its own state there."""
    a = puppet.thread("a")
    a.cudaSetDevice(1)
    a.cudaMalloc(OUT, MIB)
    context = a.cuCtxCreate_v4(OUT, 0, 0, 1)
    inside = a.cudaMalloc(OUT, MIB)
    a.cudaDeviceReset()
    look_again(puppet)
    assert len(puppet.check()) == 2
    a.cuCtxSetCurrent(primary(a, 1))
    a.cudaDeviceReset()
    assert_left(puppet.check(), [], [inside])
    a.cuCtxDestroy_v2(context)
    assert puppet.check() == []


def test_call_that_fails_late(puppet):
    """What is in a context is not given up while a call that is to end it is under way."""
    a, b = puppet.thread("a"), puppet.thread("b")
    context, other = a.cuCtxCreate_v4(OUT, 0, 0, 1), b.cuCtxCreate_v4(OUT, 0, 0, 1)
    ptr = a.cuMemAlloc_v2(OUT, MIB)
    b.cuMemAlloc_v2(OUT, MIB)
    puppet.simcuda_fail_late(LATE, OUT_OF_MEMORY)
    slow = a.begin("cuCtxDestroy_v2", context)
    b.cuCtxDestroy_v2(other)
    wait_until(lambda: puppet.calls()["ended"] == 1, "the other context's end is seen")
    slow(fails=OUT_OF_MEMORY)
    assert_left(puppet.check(), [], [ptr])
    again = a.cuMemAlloc_v2(OUT, MIB)
    assert_left(puppet.check(), [], [ptr, again])
    a.cuCtxDestroy_v2(context)
    assert puppet.check() == []
    assert puppet.calls()["frees_unknown"] == 0


def is_ending(puppet):
    """A call that is to end a context has begun."""
    numbers = puppet.handles(kernel.SPACE_CONTEXT_NUMBER)
    return any(value["flags"] & kernel.HANDLE_ENDING for _, value in numbers)


@pytest.mark.parametrize("meanwhile", [0, 1], ids=["", "allocation"])
def test_reset_that_fails_beside_one_that_does_not(newborn, meanwhile):
    a, b = newborn.thread("a"), newborn.thread("b")
    for caller in (a, b):
        caller.cudaSetDevice(0)
    a.cudaMalloc(OUT, MIB)
    newborn.simcuda_fail_late(LATE, OUT_OF_MEMORY)
    slow = a.begin("cuDevicePrimaryCtxReset_v2", 0)
    wait_until(lambda: is_ending(newborn), "it has begun")
    for _ in range(meanwhile):
        b.cudaMalloc(OUT, MIB)
    b.cuDevicePrimaryCtxReset_v2(0)
    slow(fails=OUT_OF_MEMORY)
    assert newborn.check() == []
    again = b.cudaMalloc(OUT, MIB)
    newborn.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    b.cuDevicePrimaryCtxReset_v2(0, fails=OUT_OF_MEMORY)
    look_again(newborn)
    assert_left(newborn.check(), [], [again])


@pytest.mark.parametrize("fails", [0, OUT_OF_MEMORY], ids=["", "fails"])
def test_primary_context_retained_beside_its_last_release(newborn, fails):
    """It lives on with the reference that is being made, if that is."""
    a, b = newborn.thread("a"), newborn.thread("b")
    a.cuCtxSetCurrent(primary(a, 0))
    a.cuMemAlloc_v2(OUT, MIB)
    assert len(newborn.check()) == 1
    if fails:
        newborn.simcuda_fail_late(LATE, OUT_OF_MEMORY)
    else:
        b.simcuda_return_late(LATE)
    slow = b.begin("cuDevicePrimaryCtxRetain", OUT, 0)

    def references():
        return [value["counts"] for _, value in newborn.handles(kernel.SPACE_PRIMARY)]

    wait_until(lambda: references() == [2], "it has begun")
    a.cuDevicePrimaryCtxRelease_v2(0)
    slow(fails=fails)
    assert len(newborn.check()) == (not fails)
    if not fails:
        a.cuDevicePrimaryCtxRelease_v2(0)
    assert newborn.check() == []


@pytest.mark.parametrize("way", ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRelease_v2"])
def test_end_that_fails_beside_an_allocation(newborn, way):
    """What was there and what came meanwhile ends together."""
    a, b = newborn.thread("a"), newborn.thread("b")
    for caller in (a, b):
        caller.cuCtxSetCurrent(primary(newborn, 0))
    newborn.cuDevicePrimaryCtxRelease_v2(0)  # one reference is left
    ptrs = [b.cuMemAlloc_v2(OUT, MIB)]
    for _ in range(3):
        newborn.simcuda_fail_late(LATE, OUT_OF_MEMORY)
        slow = a.begin(way, 0)
        wait_until(lambda: is_ending(newborn), "it has begun")
        ptrs.append(b.cuMemAlloc_v2(OUT, MIB))
        slow(fails=OUT_OF_MEMORY)
        look_again(newborn)
        assert_left(newborn.check(), [], ptrs)
    getattr(a, way)(0)
    assert newborn.check() == []
    a.cuCtxSetCurrent(primary(newborn, 0))
    a.cuMemAlloc_v2(OUT, MIB)
    look_again(newborn)
    assert len(newborn.check()) == 1


def test_more_ends_that_fail_than_are_kept_together(newborn):
    """What is then not known to end is said to be."""
    a, b = newborn.thread("a"), newborn.thread("b")
    a.cudaSetDevice(0)
    b.cudaSetDevice(0)
    b.cudaMalloc(OUT, MIB)
    tries = 0
    while partial(newborn.daemon, newborn.pid) == []:
        newborn.simcuda_fail_late(LATE, OUT_OF_MEMORY)
        slow = a.begin("cuDevicePrimaryCtxReset_v2", 0)
        wait_until(lambda: is_ending(newborn), "it has begun")
        b.cudaMalloc(OUT, MIB)
        slow(fails=OUT_OF_MEMORY)
        look_again(newborn)
        newborn.check_entries()
        tries += 1
        assert tries < 3 * ENDS_KEPT_TOGETHER
    assert tries >= ENDS_KEPT_TOGETHER
    assert newborn.check(["limit"])
    assert newborn.daemon.ctl("status")["events"]["lost"]["handles"] > 0


def test_openings_that_end_with_their_context(puppet, owner):
    """Nothing that counted them stays."""
    a = puppet.thread("a")
    shared = [owner.cudaMalloc(OUT, MIB) for _ in range(12)]
    handles = [Value(owner.cudaIpcGetMemHandle(Pointer(64), memory)) for memory in shared]

    least = None
    for count in (1, 6, 12):
        context = a.cuCtxCreate_v4(OUT, 0, 0, 1)
        for handle in handles[:count]:
            a.cudaIpcOpenMemHandle(OUT, handle, 1)
        assert len(puppet.check()) == count
        a.cuCtxDestroy_v2(context)
        assert puppet.check() == []
        least = least or len(puppet.kept("handles"))
        wait_until(lambda most=least: len(puppet.kept("handles")) <= most, "no more is kept")


def test_addresses_taken_again_after_a_reset(puppet):
    """Whatever comes to lie where memory of the context was is another's."""
    puppet.cudaSetDevice(1)
    gone = [puppet.cudaMalloc(OUT, MIB) for _ in range(8)]
    puppet.cudaDeviceReset()
    again = [puppet.cudaMalloc(OUT, MIB) for _ in range(8)]
    assert set(gone) == set(again)
    assert len(puppet.check()) == 8
    for ptr in again:
        puppet.cudaFree(ptr)
        puppet.cudaFree(ptr, fails=INVALID_VALUE)
    assert puppet.check() == []
    calls = puppet.calls()
    assert calls["superseded"] == calls["frees_unknown"] == 0


@pytest.mark.parametrize("destroy", ["cuCtxDestroy", "cuCtxDestroy_v2"])
@pytest.mark.parametrize("is_current", [True, False])
def test_destroyed_context_takes_what_was_made_in_it(puppet, owner, destroy, is_current):
    a = puppet.thread("a")
    other = a.cudaMalloc(OUT, MIB)
    for _ in range(2):
        context = a.cuCtxCreate_v4(OUT, 0, 0, 1)
        handles, ptrs = fill(a, owner)
        if not is_current:
            a.cuCtxPopCurrent_v2(OUT)
        puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
        getattr(a, destroy)(context, fails=OUT_OF_MEMORY)
        assert {x["kind"] for x in puppet.check()} == KINDS
        getattr(a, destroy)(context)
        assert_left(puppet.check(), handles, ptrs | {other})
        getattr(a, destroy)(context, fails=NO_CONTEXT)
        end(a, handles, ptrs)
        back = a.cudaMalloc(OUT, MIB)
        assert device_of(puppet.check(), back) == 0
        a.cudaFree(back)


@pytest.mark.parametrize("release", ["cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"])
def test_last_release_takes_all_of_the_device(newborn, release):
    release = getattr(newborn, release)
    for _ in range(2):
        context = [primary(newborn, 1) for _ in range(3)][0]
        newborn.cuCtxSetCurrent(context)
        newborn.cuMemAlloc_v2(OUT, MIB)
        newborn.cuMemAllocHost_v2(OUT, MIB)
        for _ in range(2):
            release(1)
            assert len(newborn.check()) == 2
        newborn.simcuda_fail_next_place(1, OUT_OF_MEMORY)
        release(1, fails=OUT_OF_MEMORY)
        assert len(newborn.check()) == 2
        release(1)
        assert newborn.check() == []
        release(1, fails=NO_CONTEXT)


def test_reset_leaves_the_references(newborn):
    """They are to be given up all the same, and count when it lives again."""
    for _ in range(2):
        context = primary(newborn, 1)
    newborn.cuCtxSetCurrent(context)
    newborn.cuMemAlloc_v2(OUT, MIB)
    newborn.cuDevicePrimaryCtxReset_v2(1)
    assert newborn.check() == []
    newborn.cuCtxSetCurrent(primary(newborn, 1))
    newborn.cuMemAlloc_v2(OUT, MIB)
    for left in (1, 1, 0):
        newborn.cuDevicePrimaryCtxRelease_v2(1)
        assert len(newborn.check()) == left


def test_release_beside_the_runtime(newborn):
    """The runtime holds the context too."""
    ptr = newborn.cudaMalloc(OUT, MIB)
    primary(newborn, 0)
    newborn.cuDevicePrimaryCtxRelease_v2(0)
    assert device_of(newborn.check(), ptr) == 0


def test_release_beside_what_was_never_seen(workload, start_daemon, tmp_path):
    """Somebody took a reference before the daemon was there: nothing can be told to have ended."""
    puppet = Puppet.start(workload, tmp_path)
    puppet.cuInit(0)
    held = primary(puppet, 0)
    daemon = start_daemon("--pid", str(puppet.pid))
    puppet.cuCtxSetCurrent(primary(puppet, 0))
    ptr = puppet.cuMemAlloc_v2(OUT, MIB)
    assert held
    puppet.cuDevicePrimaryCtxRelease_v2(0)
    assert device_of(puppet.shown(daemon), ptr) == 0
    # A reset is certain.
    puppet.cuDevicePrimaryCtxReset_v2(0)
    assert puppet.shown(daemon) == []


# Contexts that are older than the probes


@pytest.fixture
def older(start_daemon, workload, tmp_path):
    """A process with a thread that has called something before the daemon came."""

    def start(function, *arguments):
        puppet = Puppet.start(workload, tmp_path)
        puppet.cuInit(0)
        old = puppet.thread("old")
        chosen = getattr(old, function)(*arguments)
        old.cuMemAlloc_v2(OUT, MIB)
        return puppet, old, start_daemon("--pid", str(puppet.pid)), chosen

    return start


def devices(daemon, pid):
    """{MiB: device} of what is shown."""
    return {a["size"] // MIB: a["device"] for a in daemon.allocs(pid)}


OLD_CONTEXTS = {
    "device": (("cudaSetDevice", 1), lambda old, _: old.cudaDeviceReset),
    "primary": (
        ("cudaSetDevice", 1),
        lambda old, _: functools.partial(old.cuDevicePrimaryCtxReset_v2, 1),
    ),
    "own": (
        ("cuCtxCreate_v4", OUT, 0, 0, 1),
        lambda old, made: functools.partial(old.cuCtxDestroy_v2, made),
    ),
}


@pytest.mark.parametrize("which", OLD_CONTEXTS)
def test_context_that_is_older_than_the_probes(older, which):
    """What is taken in it does not outlive it."""
    choose, end = OLD_CONTEXTS[which]
    puppet, old, daemon, chosen = older(*choose)
    old.cuMemAlloc_v2(OUT, 2 * MIB)
    kept = old.cuMemCreate(OUT, 4 * MIB, properties(), 0)
    wait_until(lambda: devices(daemon, puppet.pid) == {2: None, 4: 0}, "what it takes is shown")
    puppet.simcuda_fail_late(1, OUT_OF_MEMORY)
    end(old, chosen)(fails=OUT_OF_MEMORY)
    old.cuMemAlloc_v2(OUT, 3 * MIB)
    end(old, chosen)()
    wait_until(lambda: devices(daemon, puppet.pid) == {4: 0}, "it ends with its context")
    old.cudaSetDevice(1)
    old.cudaMalloc(OUT, MIB)
    wait_until(lambda: devices(daemon, puppet.pid) == {1: 1, 4: 0}, "the next one is known")
    old.cuMemRelease(kept)
    wait_until(lambda: devices(daemon, puppet.pid) == {1: 1}, "the rest is there till it is freed")


def test_reset_by_a_thread_whose_device_is_not_known(older):
    """It is the only one that is known."""
    puppet, old, daemon, _ = older("cudaSetDevice", 1)
    new = puppet.thread("new")
    new.cudaSetDevice(1)
    new.cudaMalloc(OUT, MIB)
    old.cudaMalloc(OUT, 2 * MIB)
    wait_until(lambda: devices(daemon, puppet.pid) == {1: 1, 2: None}, "both are shown")
    old.cudaDeviceReset()
    wait_until(lambda: devices(daemon, puppet.pid) == {}, "both are gone")


def test_reset_of_one_of_two_devices(older):
    """It may be either, and both are taken to go on."""
    puppet, old, daemon, _ = older("cudaSetDevice", 1)
    new = puppet.thread("new")
    new.cudaSetDevice(0)
    new.cudaMalloc(OUT, MIB)
    new.cudaSetDevice(1)
    old.cudaMalloc(OUT, 2 * MIB)
    wait_until(lambda: devices(daemon, puppet.pid) == {1: 0, 2: None}, "both are shown")
    old.cudaDeviceReset()
    wait_until(lambda: devices(daemon, puppet.pid) == {1: 0}, "what is not known is gone")


def test_primary_release_that_fails_beside_one_that_does_not(newborn):
    """What has in hand the number of the context is not what says whether it ends."""
    a, c = newborn.thread("a"), newborn.thread("c")
    for caller in (a, c):
        caller.cuCtxSetCurrent(primary(caller, 0))
    a.cuMemAlloc_v2(OUT, MIB)
    newborn.simcuda_fail_late(LATE, OUT_OF_MEMORY)
    slow = c.begin("cuDevicePrimaryCtxRelease_v2", 0)

    def references():
        ((_, value),) = newborn.handles(kernel.SPACE_PRIMARY)
        return value["counts"] >> 48, value["counts"] & 0xFFFFFF

    wait_until(lambda: references() == (1, 2), "it has begun")
    a.cuDevicePrimaryCtxRelease_v2(0)
    look_again(newborn)
    assert len(newborn.check()) == 1
    slow(fails=OUT_OF_MEMORY)
    look_again(newborn)
    assert len(newborn.check()) == 1 and references() == (0, 1)
    c.cuDevicePrimaryCtxRelease_v2(0)
    assert newborn.check() == []


def test_primary_context_of_a_process_that_is_older_than_the_daemon(puppet):
    """It loaded CUDA later: all its calls have been seen, and so are all who may hold the context."""
    puppet.cuCtxSetCurrent(primary(puppet, 1))
    ptr = puppet.cuMemAlloc_v2(OUT, MIB)
    assert device_of(puppet.check(), ptr) == 1
    puppet.cuDevicePrimaryCtxRelease_v2(1)
    assert puppet.check() == []


def test_free_that_fails_after_its_context_has_been_forgotten(puppet):
    """What it had in hand ended with the context, whose number may be another's by now."""
    a, c = puppet.thread("a"), puppet.thread("c")
    context = a.cuCtxCreate_v4(OUT, 0, 0, 1)
    ptr = a.cuMemAlloc_v2(OUT, MIB)
    c.simcuda_return_late(LATE)
    puppet.simcuda_fail_next(1, OUT_OF_MEMORY)
    slow = c.begin("cuMemFree_v2", ptr)
    wait_until(lambda: puppet.live() == [], "it has begun")
    (number,) = [key["addr"] for key, _ in puppet.handles(kernel.SPACE_CONTEXT_NUMBER)]
    a.cuCtxDestroy_v2(context)

    def is_forgotten():
        look_again(puppet)
        return number not in [k["addr"] for k, _ in puppet.handles(kernel.SPACE_CONTEXT_NUMBER)]

    wait_until(is_forgotten, "its number is free", patience=5)
    slow(fails=OUT_OF_MEMORY)
    assert puppet.check() == []
    look_again(puppet)
    assert puppet.check() == [] and puppet.live() == []


def in_driver(puppet):
    return puppet.ask(thread=None, function="simcuda_ledger_count", arguments=[])["result"]


@pytest.mark.parametrize("again", ["cuDevicePrimaryCtxRetain", "cuGreenCtxCreate"])
def test_primary_context_is_taken_again_before_its_last_release_has_returned(newborn, again):
    """That is its next life, with nothing of what was there."""
    a, c = newborn.thread("a"), newborn.thread("c")
    a.cuCtxSetCurrent(primary(a, 1))
    for _ in range(3):
        a.cuMemAlloc_v2(OUT, MIB)
    assert len(newborn.check()) == 3
    c.simcuda_return_late(LATE)
    slow = c.begin("cuDevicePrimaryCtxRelease_v2", 1)
    wait_until(lambda: in_driver(newborn) == 0, "the driver has released it")
    if again == "cuGreenCtxCreate":
        a.cuGreenCtxCreate(OUT, 0, 1, 0)
    else:
        a.cuCtxSetCurrent(primary(a, 1))
        a.cuMemAlloc_v2(OUT, 2 * MIB)
    slow()
    look_again(newborn)
    assert len(newborn.check()) == (again != "cuGreenCtxCreate")
    if again != "cuGreenCtxCreate":
        a.cuDevicePrimaryCtxRelease_v2(1)
    assert newborn.check() == []


@pytest.mark.parametrize("what", ["destroy", "reset", "release"])
def test_call_that_lasts_over_untrack_and_track(newborn, what):
    """The contexts that are known then have the same numbers, and are others."""
    a, c = newborn.thread("a"), newborn.thread("c")
    context = a.cuCtxCreate_v4(OUT, 0, 0, 1) if what == "destroy" else primary(a, 1)
    a.cuCtxSetCurrent(context)
    a.cuMemAlloc_v2(OUT, MIB)
    assert len(newborn.check()) == 1
    c.simcuda_return_late(LATE)
    slow = {
        "destroy": lambda: c.begin("cuCtxDestroy_v2", context),
        "reset": lambda: c.begin("cuDevicePrimaryCtxReset_v2", 1),
        "release": lambda: c.begin("cuDevicePrimaryCtxRelease_v2", 1),
    }[what]()
    wait_until(lambda: in_driver(newborn) == 0, "the driver has done it")
    for word in ("untrack", "track"):
        newborn.daemon.ctl(word, newborn.pid)
    fresh = newborn.thread("fresh")
    fresh.cudaSetDevice(0)
    for _ in range(3):
        fresh.cudaMalloc(OUT, MIB)
    slow()
    look_again(newborn)
    assert len(newborn.check(["late_attach"])) == 3
