# SPDX-License-Identifier: Apache-2.0
"""On which device an allocation is, by the thread's contexts, and what goes when a context ends."""
import functools
import os
import re
import signal
import struct
import urllib.request

import kernel
import pytest
from conftest import wait_until
from puppet import MIB, OUT, POSIX_FD
from puppet import Given, Pointer, Puppet, Value, Watched, properties
from puppet import owner, puppet  # noqa: F401, fixtures

INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE, NO_CONTEXT = 1, 2, 101, 201
ENDS_KEPT_TOGETHER = 8  # NUMBERS_ALIKE
FOLLOWED = 7  # contexts of a thread's stack that the probes keep


@pytest.fixture
def newborn(daemon, workload, tmp_path):
    """A process that the daemon knows from its start: exec does not tell how long it had lived."""
    watched = Watched.start(workload, tmp_path, daemon)
    watched.cuInit(0)
    return watched


def device_of(shown, ptr):
    """The device that is shown of an allocation."""
    (device,) = [a["device"] for a in shown if a["ptr"] == hex(ptr)]
    return device


def partial(daemon, pid):
    return daemon.process_row(pid)["partial"] if pid in daemon.pids() else []


def label(labels, name):
    """Of a metric's sample: "" where it has none of that name."""
    found = re.search(rf'\b{name}="([^"]*)"', labels)
    return found[1] if found else ""


def primary(caller, device):
    return caller.cuDevicePrimaryCtxRetain(OUT, device)


def look_again(puppet):
    """Has the daemon compare its tables with the kernel: what has ended is taken out then."""

    def ended():
        return puppet.daemon.ctl("status")["calls"]["ended"]

    b, before = puppet.thread("b"), ended()
    context = b.cuCtxCreate_v4(OUT, 0, 0, 0)
    b.cuMemAlloc_v2(OUT, MIB)
    b.cuCtxDestroy_v2(context)
    wait_until(lambda: ended() > before, "it has compared them")


# A thread's device


@pytest.mark.parametrize(
    "choose",
    [("cudaSetDevice", 1), ("cudaGLSetGLDevice", 1), ("cudaVDPAUSetVDPAUDevice", 1, 0, 0)],
    ids=lambda choose: choose[0],
)
def test_each_thread_has_its_device(puppet, choose):
    a, b = puppet.thread("a"), puppet.thread("b")
    function, *arguments = choose
    getattr(a, function)(*arguments)
    on_first = [puppet.cudaMalloc(OUT, MIB), b.cudaMalloc(OUT, MIB)]
    on_first += [b.cudaMallocManaged(OUT, MIB, 1)]
    on_second = [a.cudaMalloc(OUT, MIB), a.cudaMallocAsync(OUT, MIB, 0)]
    shown = puppet.check()
    assert {device_of(shown, ptr) for ptr in on_first} == {0}
    assert {device_of(shown, ptr) for ptr in on_second} == {1}
    b.cudaSetDevice(1)
    a.cudaSetDevice(0)
    moved = a.cudaMalloc(OUT, MIB), b.cudaMalloc(OUT, MIB)
    shown = puppet.check()
    assert [device_of(shown, ptr) for ptr in moved] == [0, 1]
    new = puppet.thread("c").cudaMalloc(OUT, MIB)
    assert device_of(puppet.check(), new) == 0


def test_what_fails_leaves_the_device(puppet):
    a = puppet.thread("a")
    a.cudaSetDevice(1)
    contexts = [primary(a, device) for device in (0, 1)]
    other = a.cuCtxCreate_v2(OUT, 0, 0)
    a.cuCtxPopCurrent_v2(OUT)
    failing = [
        lambda **how: a.cudaSetDevice(0, **how),
        lambda **how: a.cuCtxSetCurrent(contexts[0], **how),
        lambda **how: a.cuCtxPushCurrent_v2(contexts[0], **how),
        lambda **how: a.cuCtxPopCurrent_v2(OUT, **how),
        lambda **how: a.cuCtxCreate_v4(OUT, 0, 0, 0, **how),
        lambda **how: a.cuCtxDestroy_v2(other, **how),
        lambda **how: a.cuCtxSetCurrent(0, **how),
    ]
    for call in failing:
        puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
        call(fails=OUT_OF_MEMORY)
        ptr = a.cudaMalloc(OUT, MIB)
        assert device_of(puppet.check(), ptr) == 1
    a.cudaSetDevice(7, fails=INVALID_DEVICE)
    a.cudaMalloc(OUT, MIB)
    puppet.check()


def test_driver_alone(puppet):
    """Threads have no context until they choose one."""
    contexts = [primary(puppet, device) for device in (0, 1)]
    a = puppet.thread("a")
    a.cuMemAlloc_v2(OUT, MIB, fails=NO_CONTEXT)
    devices = []

    def take():
        devices.append(a.cuMemAlloc_v2(OUT, MIB))

    a.cuCtxSetCurrent(contexts[1])
    take()
    a.cuCtxPushCurrent_v2(contexts[0])
    take()
    a.cuCtxSetCurrent(contexts[1])  # in its place
    take()
    a.cuCtxPopCurrent_v2(OUT)
    take()
    a.cuCtxPopCurrent_v2(OUT)
    a.cuMemAlloc_v2(OUT, MIB, fails=NO_CONTEXT)
    a.cuCtxPushCurrent(contexts[0])
    take()
    a.cuCtxSetCurrent(0)
    a.cuMemAlloc_v2(OUT, MIB, fails=NO_CONTEXT)
    shown = puppet.check()
    assert [device_of(shown, ptr) for ptr in devices] == [1, 0, 1, 1, 0]


CREATE = {
    "cuCtxCreate": lambda a, device: a.cuCtxCreate(OUT, 0, device),
    "cuCtxCreate_v2": lambda a, device: a.cuCtxCreate_v2(OUT, 0, device),
    "cuCtxCreate_v3": lambda a, device: a.cuCtxCreate_v3(OUT, 0, 0, 0, device),
    "cuCtxCreate_v4": lambda a, device: a.cuCtxCreate_v4(OUT, 0, 0, device),
    "cuGLCtxCreate_v2": lambda a, device: a.cuGLCtxCreate_v2(OUT, 0, device),
    "cuVDPAUCtxCreate_v2": lambda a, device: a.cuVDPAUCtxCreate_v2(OUT, 0, device, 0, 0),
}


@pytest.mark.parametrize("create", CREATE.values(), ids=CREATE)
def test_runtime_within_a_context_of_its_own(puppet, create):
    """The runtime takes what is current, and its device's primary context where nothing is."""
    a = puppet.thread("a")
    context = create(a, 1)
    inside = a.cudaMalloc(OUT, MIB)
    assert a.cuCtxPopCurrent_v2(OUT) == context
    outside = a.cudaMalloc(OUT, MIB)
    b = puppet.thread("b")
    b.cuCtxPushCurrent_v2(context)
    of_another_thread = b.cudaMallocAsync(OUT, MIB, 0)
    shown = puppet.check()
    assert [device_of(shown, ptr) for ptr in (inside, outside, of_another_thread)] == [1, 0, 1]
    a.cuCtxDestroy_v2(context)
    assert {device_of(puppet.check(), outside)} == {0}
    b.cuMemAlloc_v2(OUT, MIB, fails=NO_CONTEXT)
    b.cudaSetDevice(0)
    inside_primary = b.cudaMalloc(OUT, MIB)
    assert_left(puppet.check(), [], [outside, of_another_thread, inside_primary])


def test_deep_stack_of_contexts(puppet):
    """Below what is followed a device may be unknown, and is never another."""
    contexts = [primary(puppet, device) for device in (0, 1)]
    a = puppet.thread("a")
    depth = 2 * FOLLOWED
    for level in range(depth):
        a.cuCtxPushCurrent_v2(contexts[level % 2])
    taken = []
    for level in reversed(range(depth)):
        taken.append((level, a.cuMemAlloc_v2(OUT, MIB)))
        a.cuCtxPopCurrent_v2(OUT)
    a.cudaSetDevice(1)
    last = a.cudaMalloc(OUT, MIB)
    shown = puppet.shown(puppet.daemon)
    devices = {level: device_of(shown, ptr) for level, ptr in taken}
    assert all(devices[level] in (level % 2, None) for level in devices)
    assert all(devices[level] == level % 2 for level in range(FOLLOWED))
    assert device_of(shown, last) == 1


def test_threads_older_than_the_daemon(workload, start_daemon, tmp_path):
    """Their device is unknown, not the first one, until they choose one."""
    puppet = Puppet.start(workload, tmp_path)
    a, b, idle = (puppet.thread(name) for name in ("a", "b", "idle"))
    idle.cudaGetDeviceCount(Pointer(4))
    puppet.cudaSetDevice(0)
    a.cudaSetDevice(1)
    before = [primary(b, device) for device in (0, 1)]
    b.cuCtxSetCurrent(before[1])
    daemon = start_daemon("--pid", str(puppet.pid))

    unknown = a.cudaMalloc(OUT, MIB), b.cuMemAlloc_v2(OUT, MIB), puppet.cudaMalloc(OUT, MIB)
    puppet.cudaSetDevice(1)
    a.cudaSetDevice(0)
    b.cuCtxSetCurrent(primary(b, 1))
    known = puppet.cudaMalloc(OUT, MIB), a.cudaMalloc(OUT, MIB), b.cuMemAlloc_v2(OUT, MIB)
    # These get their context from the runtime, and it from the driver.
    new = puppet.thread("new").cudaMalloc(OUT, MIB), idle.cudaMalloc(OUT, MIB)
    shown = puppet.shown(daemon)
    assert [device_of(shown, ptr) for ptr in unknown] == [None, None, None]
    assert [device_of(shown, ptr) for ptr in known] == [1, 0, 1]
    assert [device_of(shown, ptr) for ptr in new] == [0, 0]
    assert daemon.process_row(puppet.pid)["partial"] == ["late_attach"]


def test_contexts_chosen_in_a_library_without_probes(
    start_daemon, workload, private_libraries, tmp_path
):
    """What was chosen there is unknown, also where another library's calls have all been seen."""
    libraries = private_libraries()
    daemon = start_daemon(libraries=(f"{libraries}/libcudart.so*",))
    os.kill(daemon.process.pid, signal.SIGSTOP)
    puppet = Puppet.start(workload, tmp_path, SIMCUDA_DIR=str(libraries))
    chose, changed, never = (puppet.thread(name) for name in ("chose", "changed", "never"))
    changed.cudaSetDevice(0)
    second = primary(changed, 1)
    changed.cuCtxSetCurrent(second)
    chose.cuCtxSetCurrent(second)
    never.cudaGetDeviceCount(Pointer(4))
    os.kill(daemon.process.pid, signal.SIGCONT)
    wait_until(
        lambda: "late_attach" in partial(daemon, puppet.pid), "the daemon knows the driver"
    )
    unknown = [thread.cudaMalloc(OUT, MIB) for thread in (chose, changed)]
    # These get their context now, from the runtime, and it from the driver.
    new = puppet.thread("new").cudaMalloc(OUT, MIB), never.cudaMalloc(OUT, MIB)
    chose.cuCtxSetCurrent(primary(chose, 1))
    known = chose.cudaMalloc(OUT, MIB)
    shown = puppet.shown(daemon)
    assert [device_of(shown, ptr) for ptr in unknown] == [None, None]
    assert [device_of(shown, ptr) for ptr in [*new, known]] == [0, 0, 1]


def test_contexts_chosen_while_the_process_was_ignored(puppet):
    a, idle = puppet.thread("a"), puppet.thread("idle")
    idle.cudaGetDeviceCount(Pointer(4))
    a.cudaSetDevice(0)
    puppet.daemon.ctl("untrack", puppet.pid)
    a.cudaSetDevice(1)
    idle.cudaSetDevice(1)
    puppet.daemon.ctl("track", puppet.pid)
    wait_until(lambda: "late_attach" in partial(puppet.daemon, puppet.pid), "tracked again")
    unknown = [thread.cudaMalloc(OUT, MIB) for thread in (a, idle)]
    a.cudaSetDevice(1)
    known = a.cudaMalloc(OUT, MIB)
    shown = puppet.shown(puppet.daemon)
    assert [device_of(shown, ptr) for ptr in [*unknown, known]] == [None, None, 1]


def test_after_exec(puppet):
    puppet.cudaSetDevice(1)
    ptr = puppet.cudaMalloc(OUT, MIB)
    assert device_of(puppet.check(), ptr) == 1
    puppet.become_anew()
    ptr = puppet.cudaMalloc(OUT, MIB)
    assert device_of(puppet.check(), ptr) == 0


def test_after_fork(daemon, workload, tmp_path):
    puppet = Puppet.start(workload, tmp_path)
    child = puppet.fork(tmp_path / "child")
    first = child.cudaMalloc(OUT, MIB)
    child.cudaSetDevice(1)
    second = child.cudaMalloc(OUT, MIB)
    parents = puppet.cudaMalloc(OUT, MIB)
    shown = child.shown(daemon)
    assert [device_of(shown, ptr) for ptr in (first, second)] == [0, 1]
    assert device_of(puppet.shown(daemon), parents) == 0


def test_ordinals_are_those_of_the_process(daemon, workload, tmp_path):
    environment = {"SIMCUDA_DEVICES": "8", "CUDA_VISIBLE_DEVICES": "5,2"}
    puppet = Watched.start(workload, tmp_path, daemon, **environment)
    assert puppet.cudaGetDeviceCount(Pointer(4)) == b"\2\0\0\0"
    puppet.cudaSetDevice(2, fails=INVALID_DEVICE)
    puppet.cudaSetDevice(1)
    ptr = puppet.cudaMalloc(OUT, MIB)
    assert device_of(puppet.check(), ptr) == 1


@pytest.fixture
def runtime_alone(private_libraries, start_daemon, workload, tmp_path):
    """A process whose driver goes by a name that nobody looks for, so that only the runtime's calls
    are seen."""
    libraries = private_libraries()
    driver = libraries / "libcuda.so.1"
    driver.rename(libraries / "libother.so")
    for library in libraries.iterdir():
        library.write_bytes(library.read_bytes().replace(b"libcuda.so.1\0", b"libother.so\0\0"))
    daemon = start_daemon(libraries=(str(libraries / "libcudart.so.13"),))
    environment = {"SIMCUDA_DIR": str(libraries), "SIMCUDA_DRIVER": "libother.so"}
    return Watched.start(workload, tmp_path, daemon, **environment)


def test_devices_by_the_runtime_alone(runtime_alone):
    a, b = runtime_alone.thread("a"), runtime_alone.thread("b")
    first = runtime_alone.cudaMalloc(OUT, MIB)
    a.cudaSetDevice(1)
    second = a.cudaMalloc(OUT, MIB)
    shown = runtime_alone.check()
    assert [device_of(shown, ptr) for ptr in (first, second)] == [0, 1]
    apis = {a["api"] for a in shown}
    assert apis == {"cudaMalloc"}
    b.cudaDeviceReset()
    assert {x["ptr"] for x in runtime_alone.check()} == {hex(second)}
    a.cudaDeviceReset()
    assert runtime_alone.check() == []
    a.cudaMalloc(OUT, MIB)
    runtime_alone.check()


def test_site_of_two_devices(puppet):
    """Neither is its device; what is outstanding is told by device all the same."""
    for device in (0, 0, 1):
        puppet.cudaSetDevice(device)
        puppet.cudaMalloc(OUT, MIB)
    puppet.thread("a").cudaMallocHost(OUT, MIB)
    shown = puppet.check()
    (site,) = {a["site"] for a in shown if a["kind"] == "device"}
    sites = {s["id"]: s for s in puppet.daemon.ctl("sites", puppet.pid)["sites"]}
    assert (sites[site]["device"], sites[site]["count"]) == (None, 3)

    url = f"http://127.0.0.1:{puppet.daemon.port}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    samples = re.findall(r"^srtleak_outstanding_bytes\{(.*)\} (\d+)$", text, re.MULTILINE)
    assert {
        (label(labels, "device"), label(labels, "kind")): int(value) for labels, value in samples
    } == {("0", "device"): 2 * MIB, ("1", "device"): MIB, ("", "host"): MIB}


def test_part_of_a_device(newborn):
    """A green context: what is made in it is in its device's primary context, which it holds."""
    a = newborn.thread("a")
    green = a.cuGreenCtxCreate(OUT, 0, 1, 0)
    context = a.cuCtxFromGreenCtx(OUT, green)
    assert context != green
    a.cuCtxPushCurrent_v2(context)
    inside = a.cuMemAlloc_v2(OUT, MIB), a.cudaMalloc(OUT, MIB)
    a.cudaDeviceReset()  # gives up nothing of a context that is no device's own
    look_again(newborn)
    shown = newborn.check()
    assert [device_of(shown, ptr) for ptr in inside] == [1, 1]
    a.cuCtxPopCurrent_v2(OUT)
    held = primary(a, 1)
    newborn.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    a.cuGreenCtxDestroy(green, fails=OUT_OF_MEMORY)
    a.cuGreenCtxDestroy(green)
    assert len(newborn.check()) == 2
    a.cuCtxSetCurrent(held)
    again = a.cuMemAlloc_v2(OUT, MIB)
    assert device_of(newborn.check(), again) == 1
    a.cuDevicePrimaryCtxRelease_v2(1)
    assert newborn.check() == []


# The end of a context


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


def assert_left(shown, handles, ptrs):
    assert {x["handle"] for x in shown if x["handle"]} == set(map(hex, handles))
    assert {x["ptr"] for x in shown if not x["handle"]} == set(map(hex, ptrs))


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
    puppet.simcuda_fail_late(3000, OUT_OF_MEMORY)
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
    newborn.simcuda_fail_late(2000, OUT_OF_MEMORY)
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
        newborn.simcuda_fail_late(1500, OUT_OF_MEMORY)
    else:
        b.simcuda_return_late(1500)
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
        newborn.simcuda_fail_late(2000, OUT_OF_MEMORY)
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
        newborn.simcuda_fail_late(700, OUT_OF_MEMORY)
        slow = a.begin("cuDevicePrimaryCtxReset_v2", 0)
        wait_until(lambda: is_ending(newborn), "it has begun")
        b.cudaMalloc(OUT, MIB)
        slow(fails=OUT_OF_MEMORY)
        newborn.check(partial(newborn.daemon, newborn.pid))
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

    def kept():
        return len(kernel.map_entries(puppet.daemon.process.pid, "handles"))

    least = None
    for count in (1, 6, 12):
        context = a.cuCtxCreate_v4(OUT, 0, 0, 1)
        for handle in handles[:count]:
            a.cudaIpcOpenMemHandle(OUT, handle, 1)
        assert len(puppet.check()) == count
        a.cuCtxDestroy_v2(context)
        assert puppet.check() == []
        least = least or kept()
        wait_until(lambda most=least: kept() <= most, "no more is kept")


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
    newborn.simcuda_fail_late(1500, OUT_OF_MEMORY)
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
