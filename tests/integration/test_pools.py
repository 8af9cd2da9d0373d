# SPDX-License-Identifier: Apache-2.0
"""Pools of stream-ordered memory: what is used of each, the most that was, and what it holds."""
import signal
import struct

import kernel
import pytest
from conftest import wait_until
from puppet import DEVICE, HOST, MIB, OUT, POSIX_FD, Alone, Given, Pointer, Puppet, properties

STEP = 32 * MIB  # by which a pool of the simulation grows
KIB = 1024
RELEASE_THRESHOLD, RESERVED, RESERVED_HIGH, USED, USED_HIGH = range(4, 9)  # CUmemPool_attribute
PINNED, MANAGED = 1, 2  # CUmemAllocationType
INVALID_VALUE, OUT_OF_MEMORY = 1, 2
NUMBERS_A_LOOK = 256  # handed out before the daemon looks which are free again
POOLS_TOLD_APART = 1023  # of a process, at a time


@pytest.fixture
def puppet(workload, start_daemon, tmp_path):
    alone = Alone.begin(workload, start_daemon, tmp_path)
    alone.cudaFree(0)  # a context
    return alone


def pools(puppet):
    """By handle."""
    return {pool["handle"]: pool for pool in puppet.row()["pools"]}


def figures(puppet, *keys):
    return {tuple(pool[key] for key in keys) for pool in puppet.row()["pools"]}


def assert_pool(puppet, handle, **what):
    """What is said of the pool, soon."""
    handle = hex(handle) if handle else None

    def said():
        pool = pools(puppet).get(handle)
        return pool and {key: pool[key] for key in what}

    try:
        wait_until(lambda: said() == what, f"pool {handle} is so", 5)
    except AssertionError as error:
        raise AssertionError(f"{what} of {puppet.row()['pools']}") from error


def number(value):
    return Given(value.to_bytes(8, "little"))


def test_default_pool(puppet):
    """It has no handle until somebody asks for it."""
    first = puppet.cudaMallocAsync(OUT, 3 * MIB, 0)
    second = puppet.cuMemAllocAsync_ptsz(OUT, 5 * KIB, 0)
    puppet.check()
    most = 3 * MIB + 5 * KIB
    default = {"device": 0, "kind": "device", "destroyed": False}
    assert_pool(puppet, None, used=most, count=2, high_water=most, reserved=None, **default)
    puppet.cudaFreeAsync_ptsz(first, 0)
    puppet.check()
    assert_pool(puppet, None, used=5 * KIB, count=1, high_water=most, reserved=None)

    handle = puppet.cudaDeviceGetDefaultMemPool(OUT, 0)
    assert_pool(puppet, handle, used=5 * KIB, count=1, high_water=most, reserved=None, **default)
    assert puppet.cuDeviceGetMemPool(OUT, 0) == handle
    third = puppet.cuMemAllocFromPoolAsync(OUT, MIB, handle, 0)
    assert_pool(puppet, handle, used=MIB + 5 * KIB, count=2)
    for ptr in (second, third):
        puppet.cudaFree(ptr)
    assert puppet.check() == []
    assert_pool(puppet, handle, used=0, count=0, high_water=most)
    assert len(pools(puppet)) == 1
    puppet.cuMemPoolDestroy(handle, fails=INVALID_VALUE)
    assert_pool(puppet, handle, used=0, destroyed=False)


def test_more_pools_than_are_told_apart(puppet):
    """Beyond the numbers only what is said of pools is missing, and that is counted."""
    device = properties()
    first, *others = [puppet.cuMemPoolCreate(OUT, device) for _ in range(POOLS_TOLD_APART + 2)]
    pool = puppet.cuMemPoolCreate(OUT, device)
    puppet.cuMemAllocFromPoolAsync(OUT, MIB, pool, 0)
    wait_until(lambda: puppet.row()["partial"], "the process is marked")
    (allocation,) = puppet.check(["limit"])
    assert allocation["device"] == 0 and hex(pool) not in pools(puppet)
    assert puppet.daemon.ctl("status")["events"]["lost"]["handles"] == 3

    # One lives on in what is used of it, the others leave their numbers to those that follow.
    kept = puppet.cuMemAllocFromPoolAsync(OUT, 2 * MIB, first, 0)
    for one in (first, *others):
        puppet.cuMemPoolDestroy(one)
    for _ in range(NUMBERS_A_LOOK):
        puppet.cuMemPoolDestroy(puppet.cuMemPoolCreate(OUT, device))
    wait_until(lambda: len(puppet.handles(kernel.SPACE_POOL_NUMBER)) < 20, "numbers are free again")
    for _ in range(POOLS_TOLD_APART // 2):
        pool = puppet.cuMemPoolCreate(OUT, device)
    puppet.cuMemAllocFromPoolAsync(OUT, 3 * MIB, pool, 0)
    assert_pool(puppet, pool, used=3 * MIB, count=1)
    used = {p["used"] for p in puppet.row()["pools"] if p["destroyed"]}
    assert used == {2 * MIB}
    puppet.cuMemFreeAsync(kept, 0)
    wait_until(lambda: not any(p["destroyed"] for p in puppet.row()["pools"]), "it is no more")


def test_pools_after_a_repair_and_a_restart(restart, workload, tmp_path):
    """They are what they were, also those whose end was told to nobody."""
    puppet = Puppet.start(workload, tmp_path)
    daemon = restart("--pid", str(puppet.pid))
    puppet.cudaSetDevice(1)
    host, second, gone = (
        puppet.cudaMemPoolCreate(OUT, properties(location=where, number=number))
        for where, number in ((HOST, 0), (DEVICE, 1), (DEVICE, 0))
    )
    puppet.cudaMallocFromPoolAsync(OUT, 5 * MIB, host, 0)
    puppet.cudaMallocFromPoolAsync(OUT, 7 * MIB, second, 0)
    puppet.cudaMallocAsync(OUT, MIB, 0)
    before = [
        (hex(host), None, "host", 5 * MIB),
        (hex(second), 1, "device", 7 * MIB),
        (hex(gone), 0, "device", 0),
    ]

    def are(expected):
        rows = daemon.process_row(puppet.pid)["pools"]
        found = sorted((p["handle"], p["device"], p["kind"], p["used"]) for p in rows if p["handle"])
        own = [(p["device"], p["used"]) for p in rows if not p["handle"]]
        return found == sorted(expected) and own == [(1, MIB)]

    wait_until(lambda: are(before), "all pools are known")
    looked = daemon.ctl("status")["calls"]["ended"]
    puppet.cudaMalloc(OUT, MIB)
    puppet.cudaDeviceReset()  # has the daemon compare its tables with the kernel
    wait_until(lambda: daemon.ctl("status")["calls"]["ended"] > looked, "it has")
    assert are(before)
    daemon = restart.again(
        daemon,
        signal.SIGUSR1,
        "--pid",
        str(puppet.pid),
        meanwhile=lambda: puppet.cudaMemPoolDestroy(gone),
    )
    wait_until(lambda: are(before[:2]), "and after a restart")


def test_numbers_are_found_among_many_in_use(puppet):
    device = properties()
    kept = [puppet.cuMemPoolCreate(OUT, device) for _ in range(40)]
    for _ in range(4):
        for _ in range(NUMBERS_A_LOOK):
            puppet.cuMemPoolDestroy(puppet.cuMemPoolCreate(OUT, device))
        wait_until(
            lambda: len(puppet.handles(kernel.SPACE_POOL_NUMBER)) <= len(kept) + NUMBERS_A_LOOK,
            "numbers are free",
        )
    last = puppet.cuMemPoolCreate(OUT, device)
    assert_pool(puppet, last, used=0)
    assert len(pools(puppet)) == len(kept) + 1 and puppet.row()["partial"] == []


def test_device_uses_its_own_pool_again(puppet):
    """Also when another pool gets the handle of the one that it had used."""
    device = properties()
    used = puppet.cudaMemPoolCreate(OUT, device)
    puppet.cudaDeviceSetMemPool(0, used)
    puppet.cudaMemPoolDestroy(used)
    other = puppet.cudaMemPoolCreate(OUT, device)
    assert other == used
    puppet.cudaMallocAsync(OUT, MIB, 0)
    assert_pool(puppet, None, used=MIB)
    assert_pool(puppet, other, used=0)


def test_each_device_has_one(puppet):
    puppet.cudaMallocAsync(OUT, MIB, 0)
    a = puppet.thread("a")
    a.cudaSetDevice(1)
    a.cudaMallocAsync(OUT, 2 * MIB, 0)
    puppet.check()
    wait_until(
        lambda: figures(puppet, "device", "used") == {(0, MIB), (1, 2 * MIB)}, "both are shown"
    )


def test_what_a_pool_holds_is_what_the_driver_says(puppet):
    """To the process itself: the daemon asks nobody."""
    handle = puppet.cudaMemPoolCreate(OUT, properties(number=1))
    assert_pool(puppet, handle, used=0, count=0, high_water=0, reserved=None, device=1)
    first = puppet.cudaMallocFromPoolAsync(OUT, 40 * MIB, handle, 0)
    (shown,) = puppet.check()
    assert (shown["device"], shown["kind"]) == (1, "device")
    puppet.cudaMemPoolGetAttribute(handle, USED, OUT)
    assert_pool(puppet, handle, used=40 * MIB, reserved=None)
    assert puppet.cudaMemPoolGetAttribute(handle, RESERVED, OUT) == 2 * STEP
    assert_pool(puppet, handle, reserved=2 * STEP)
    second = puppet.cuMemAllocFromPoolAsync_ptsz(OUT, 40 * MIB, handle, 0)
    assert_pool(puppet, handle, used=80 * MIB, high_water=80 * MIB, reserved=None)
    assert puppet.cuMemPoolGetAttribute(handle, RESERVED, OUT) == 3 * STEP
    assert_pool(puppet, handle, reserved=3 * STEP)
    age = pools(puppet)[hex(handle)]["reserved_age_s"]
    assert 0 <= age < pools(puppet)[hex(handle)]["reserved_age_s"] < 60
    puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    puppet.cuMemPoolGetAttribute(handle, RESERVED, OUT, fails=OUT_OF_MEMORY)
    puppet.cudaMemPoolGetAttribute(handle, RESERVED_HIGH, OUT)
    puppet.cuMemPoolSetAttribute(handle, RELEASE_THRESHOLD, number(STEP))
    for ptr in (first, second):
        puppet.cudaFreeAsync(ptr, 0)
    assert puppet.check() == []
    assert_pool(puppet, handle, used=0, count=0, high_water=80 * MIB, reserved=3 * STEP)
    puppet.cudaStreamSynchronize(0)
    assert puppet.cuMemPoolGetAttribute(handle, RESERVED, OUT) == STEP
    assert_pool(puppet, handle, reserved=STEP)
    puppet.cudaMemPoolTrimTo(handle, 0)
    assert_pool(puppet, handle, reserved=None, reserved_age_s=None)


def test_trim(puppet):
    """The most that was used begins anew with what is kept."""
    handle = puppet.cuMemPoolCreate(OUT, properties())
    taken = [puppet.cuMemAllocFromPoolAsync(OUT, 10 * MIB, handle, 0) for _ in range(8)]
    for ptr in taken[1:]:
        puppet.cuMemFreeAsync(ptr, 0)
    puppet.check()
    assert_pool(puppet, handle, used=10 * MIB, count=1, high_water=80 * MIB)
    puppet.cuMemPoolTrimTo(handle, 200 * MIB)
    assert_pool(puppet, handle, high_water=80 * MIB)
    puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    puppet.cudaMemPoolTrimTo(handle, 0, fails=OUT_OF_MEMORY)
    puppet.cudaMemPoolTrimTo(handle, 50 * MIB)
    assert_pool(puppet, handle, used=10 * MIB, high_water=50 * MIB)
    puppet.cudaMemPoolTrimTo(handle, 0)
    assert_pool(puppet, handle, used=10 * MIB, count=1, high_water=10 * MIB)
    assert puppet.cuMemPoolGetAttribute(handle, RESERVED, OUT) == STEP
    puppet.check()


@pytest.mark.parametrize("destroy", ["cudaMemPoolDestroy", "cuMemPoolDestroy"])
def test_memory_outlives_its_pool(puppet, destroy):
    destroy = getattr(puppet, destroy)
    handle = puppet.cudaMemPoolCreate(OUT, properties())
    ptr = puppet.cudaMallocFromPoolAsync(OUT, MIB, handle, 0)
    puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    destroy(handle, fails=OUT_OF_MEMORY)
    assert_pool(puppet, handle, used=MIB, count=1, destroyed=False)
    destroy(handle)
    assert len(puppet.check()) == 1
    assert_pool(puppet, handle, used=MIB, count=1, destroyed=True)
    destroy(handle, fails=INVALID_VALUE)
    # Another may have the handle.
    successor = puppet.cudaMemPoolCreate(OUT, properties(number=1))
    assert successor == handle
    puppet.cudaMallocFromPoolAsync(OUT, 2 * MIB, successor, 0)
    puppet.check()

    def shown():
        return figures(puppet, "device", "used", "destroyed")

    wait_until(lambda: shown() == {(0, MIB, True), (1, 2 * MIB, False)}, "both are told apart")
    puppet.cudaFreeAsync(ptr, 0)
    puppet.check()
    wait_until(lambda: shown() == {(1, 2 * MIB, False)}, "the first is gone with its memory")


def test_empty_pool_goes_at_once(puppet):
    puppet.cudaMemPoolDestroy(puppet.cudaMemPoolCreate(OUT, properties()))
    puppet.cudaMalloc(OUT, MIB)
    puppet.check()
    assert pools(puppet) == {}


@pytest.mark.parametrize("family", ["cuda", "cu"])
def test_pool_that_a_device_uses(puppet, family):
    """Where no pool is named, its memory comes from there, until that pool is destroyed."""
    get, choose, create, destroy, allocate = (
        getattr(puppet, family + name)
        for name in (
            "DeviceGetMemPool",
            "DeviceSetMemPool",
            "MemPoolCreate",
            "MemPoolDestroy",
            {"cuda": "MallocAsync", "cu": "MemAllocAsync"}[family],
        )
    )
    handle = create(OUT, properties())
    default = get(OUT, 0)
    allocate(OUT, MIB, 0)
    puppet.simcuda_fail_next_place(1, OUT_OF_MEMORY)
    choose(0, handle, fails=OUT_OF_MEMORY)
    allocate(OUT, MIB, 0)
    choose(0, handle)
    assert get(OUT, 0) == handle
    mine = allocate(OUT, 4 * MIB, 0)
    puppet.check()
    assert_pool(puppet, default, used=2 * MIB, count=2)
    assert_pool(puppet, handle, used=4 * MIB, count=1)

    destroy(handle)
    assert get(OUT, 0) == default
    allocate(OUT, 8 * MIB, 0)
    puppet.check()
    assert_pool(puppet, default, used=10 * MIB, count=3)
    assert_pool(puppet, handle, used=4 * MIB, count=1, destroyed=True)
    puppet.cudaFree(mine)
    puppet.check()
    wait_until(lambda: set(pools(puppet)) == {hex(default)}, "only the default pool is left")

    # One that has the same handle is not chosen by that.
    assert create(OUT, properties()) == handle
    allocate(OUT, 16 * MIB, 0)
    assert_pool(puppet, default, used=26 * MIB, count=4)
    assert_pool(puppet, handle, used=0)
    choose(0, handle)
    allocate(OUT, 32 * MIB, 0)
    choose(0, default)
    allocate(OUT, 64 * MIB, 0)
    assert_pool(puppet, default, used=90 * MIB, count=5)
    assert_pool(puppet, handle, used=32 * MIB, count=1)
    puppet.check()


def test_kind_and_place_are_the_pool_s(puppet):
    """Not those of the thread."""
    puppet.cudaSetDevice(1)
    host = puppet.cudaMemPoolCreate(OUT, properties(location=HOST))
    managed = puppet.cudaMemPoolCreate(OUT, properties(location=DEVICE, number=0, kind=MANAGED))
    puppet.cudaMallocFromPoolAsync(OUT, MIB, host, 0)
    puppet.cudaMallocFromPoolAsync(OUT, MIB, managed, 0)
    shown = {(a["kind"], a["device"]) for a in puppet.check()}
    assert shown == {("host", None), ("managed", 0)}
    assert_pool(puppet, host, kind="host", device=None, used=MIB)
    assert_pool(puppet, managed, kind="managed", device=0, used=MIB)


def test_reset_leaves_what_is_used(puppet):
    """Of the default pool as of the program's: it is in no context."""
    handle = puppet.cudaMemPoolCreate(OUT, properties())
    default = puppet.cudaDeviceGetDefaultMemPool(OUT, 0)
    for n in range(1, 3):
        puppet.cudaMallocFromPoolAsync(OUT, MIB, handle, 0)
        puppet.cudaMallocAsync(OUT, MIB, 0)
        puppet.cudaMalloc(OUT, MIB)
        puppet.cudaDeviceReset()
        left = puppet.check()
        assert len(left) == 2 * n
        assert_pool(puppet, handle, used=n * MIB, count=n, high_water=n * MIB)
        assert_pool(puppet, default, used=n * MIB, count=n, high_water=n * MIB)
    puppet.cudaSetDevice(0)
    for allocation in left:
        puppet.cudaFreeAsync(int(allocation["ptr"], 16), 0)
    assert puppet.check() == []
    assert_pool(puppet, handle, used=0, count=0, high_water=2 * MIB)


def location(kind, number=0):
    """CUmemLocation."""
    return Given(struct.pack("<Ii", kind, number))


@pytest.mark.parametrize("api", ["cuda", "cu"])
def test_pool_of_a_location(puppet, api):
    """Nobody makes them: the host's, that of managed memory, and the one that a device is known by."""
    get, get_default, choose = (
        getattr(puppet, f"{api}Mem{name}MemPool") for name in ("Get", "GetDefault", "Set")
    )
    puppet.cudaSetDevice(1)
    own = get_default(OUT, location(DEVICE, 1), PINNED)
    assert own == puppet.cudaDeviceGetDefaultMemPool(OUT, 1) == get(OUT, location(DEVICE, 1), PINNED)
    host = get_default(OUT, location(HOST), PINNED)
    managed = get(OUT, location(DEVICE, 1), MANAGED)
    get(OUT, location(7), PINNED, fails=INVALID_VALUE)
    assert len({own, host, managed}) == 3
    puppet.cudaMallocFromPoolAsync(OUT, MIB, own, 0)
    puppet.cudaMallocFromPoolAsync(OUT, 2 * MIB, host, 0)
    puppet.cudaMallocFromPoolAsync(OUT, 3 * MIB, managed, 0)
    made = puppet.cudaMemPoolCreate(OUT, properties(number=1))
    choose(location(DEVICE, 1), PINNED, made)
    assert get(OUT, location(DEVICE, 1), PINNED) == made
    puppet.cudaMallocAsync(OUT, 4 * MIB, 0)
    shown = {(a["size"] // MIB, a["kind"], a["device"]) for a in puppet.check()}
    assert shown == {(1, "device", 1), (2, "host", None), (3, "managed", 1), (4, "device", 1)}
    assert_pool(puppet, own, used=MIB, count=1)
    assert_pool(puppet, host, kind="host", device=None, used=2 * MIB, count=1)
    assert_pool(puppet, managed, kind="managed", device=1, used=3 * MIB, count=1)
    assert_pool(puppet, made, used=4 * MIB, count=1)


def test_imported_pool(puppet):
    """Pointers into it are others' memory."""
    own = puppet.cudaMemPoolCreate(OUT, properties())
    ptr = puppet.cudaMallocFromPoolAsync(OUT, MIB, own, 0)
    descriptor = puppet.cudaMemPoolExportToShareableHandle(Pointer(4), own, POSIX_FD, 0)
    pool = puppet.cudaMemPoolImportFromShareableHandle(
        OUT, int.from_bytes(descriptor, "little"), POSIX_FD, 0
    )
    data = Given(puppet.cudaMemPoolExportPointer(Pointer(64), ptr))
    imported = puppet.cudaMemPoolImportPointer(OUT, pool, data)
    kinds = {a["kind"]: a for a in puppet.check()}
    assert kinds["ipc"]["size"] is None and kinds["ipc"]["ptr"] == hex(imported)
    assert_pool(puppet, own, used=MIB, count=1)
    puppet.cudaFreeAsync(imported, 0)
    puppet.cudaFreeAsync(ptr, 0)
    assert puppet.check() == []
    assert_pool(puppet, own, used=0, count=0)


def test_pool_older_than_the_daemon(workload, start_daemon, tmp_path):
    """Where it is was never seen."""
    puppet = Puppet.start(workload, tmp_path)
    handle = puppet.cudaMemPoolCreate(OUT, properties(number=1))
    daemon = start_daemon("--pid", str(puppet.pid))
    puppet.cudaMallocFromPoolAsync(OUT, MIB, handle, 0)
    (shown,) = puppet.shown(daemon)
    assert (shown["device"], shown["size"], shown["kind"]) == (None, MIB, "device")
    puppet.cudaMemPoolDestroy(handle)
    assert len(puppet.shown(daemon)) == 1


def test_own_pool_of_a_process_older_than_the_daemon(workload, start_daemon, tmp_path):
    """What it had of it is not known, and not nothing."""
    puppet = Puppet.start(workload, tmp_path)
    old = puppet.cudaMallocAsync(OUT, 64 * MIB, 0)
    daemon = start_daemon("--pid", str(puppet.pid))
    puppet.cudaSetDevice(0)
    puppet.cudaDeviceGetDefaultMemPool(OUT, 0)
    made = puppet.cudaMemPoolCreate(OUT, properties())

    def used():
        rows = daemon.process_row(puppet.pid)["pools"]
        return {int(p["handle"], 16) == made: (p["used"], p["count"], p["high_water"]) for p in rows}

    unknown = (None, None, None)
    wait_until(lambda: used() == {False: unknown, True: (0, 0, 0)}, "both are shown")
    new = puppet.cudaMallocAsync(OUT, MIB, 0)
    wait_until(lambda: used()[False] == (MIB, 1, MIB), "what is seen is told")
    for ptr in (new, old):
        puppet.cudaFreeAsync(ptr, 0)
    wait_until(lambda: used()[False] == unknown, "and no more than that")
