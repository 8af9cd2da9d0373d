# SPDX-License-Identifier: Apache-2.0
"""On which device an allocation is, by the thread's contexts."""
import os
import re
import signal
import urllib.request

import pytest
from conftest import wait_until
from puppet import MIB, OUT
from puppet import Pointer, Puppet, Watched
from puppet import assert_left, device_of, look_again, partial, primary
from puppet import newborn, puppet  # noqa: F401, fixtures

INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE, NO_CONTEXT = 1, 2, 101, 201
FOLLOWED = 7  # contexts of a thread's stack that the probes keep


def label(labels, name):
    """Of a metric's sample: "" where it has none of that name."""
    found = re.search(rf'\b{name}="([^"]*)"', labels)
    return found[1] if found else ""


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
