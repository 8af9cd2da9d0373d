# SPDX-License-Identifier: Apache-2.0
"""Processes that take more than is anybody's due: they are refused, counted and marked; whoever runs
beside them, as the same user or another, stays exact; the daemon answers and stays small; and all
that they had comes back.
"""
import os
import pathlib
import shutil
import time

import kernel
import pytest
from churn import CHURN, Churn, assert_conserved, assert_equal_to_ledger
from conftest import BIN, BUILD, SIM, as_entries, built_as, need, read_ledger, wait_until
from puppet import OUT, PROGRAM, Puppet, properties

PYTHON = "/usr/bin/python3"
EDGE = BUILD / "workloads" / "edge"
EDGE_COUNT = 3000  # of each thread
GREEDY = BUILD / "workloads" / "greedy"
NARROW = built_as("narrow")
NARROW_LIVE_OWN, NARROW_HANDLES = 64, 16384
CULPRIT, OTHER = 42101, 42102  # users
MIB = 1 << 20
LIVE_SHARED = (1 << 21) - 4096 * 128
LIVE_OWN = 128
CHUNKS_SHARED = (1 << 16) - 4096 * 4
CHUNKS_OWN = 4
HANDLES_OWN = 16
THREADS_OWN = 2
THREADS = 40
THREAD_GRANTS = 4  # enum shared
SITES = 4096  # of one process
COPIES, NARROW_COPIES = 1000, 200  # of a library
TINY_FILES = 6000  # more than the daemon remembers of
STACKS = 1_000_000
ANSWERS_WITHIN = 5  # seconds; on a busy machine
BYTES_PER_ALLOCATION = 64
IDLE_BYTES = 64 * MIB  # what the daemon takes with nothing to track, generously


class Playground:
    """A place that any user may enter, with what runs there."""

    def __init__(self, path, workload):
        self.path, self.workload = path, workload
        self.simcuda, self.ledgers = path / "simcuda", path / "ledgers"
        shutil.copytree(SIM, self.simcuda)
        shutil.copy2(CHURN, path)
        shutil.copy2(GREEDY, path)
        self.ledgers.mkdir()
        os.chmod(self.ledgers, 0o777)

    def start(self, *arguments, **environment):
        return self.workload(*arguments, SIMCUDA_DIR=str(self.simcuda), **environment)

    def churn(self, uid, calls=600):
        """An ordinary process of that user."""
        directory = self.ledgers / f"churn-{uid}"
        directory.mkdir()
        os.chmod(directory, 0o777)

        def as_user(_, *arguments, **environment):
            user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
            return self.start(*user, self.path / "churn", *arguments, **environment)

        return Churn(as_user, directory, calls=calls)

    def others(self, daemon):
        """Ordinary processes: of the culprits' user, and of another."""
        return Others(daemon, [self.churn(CULPRIT), self.churn(OTHER)])

    def python(self):
        """An interpreter that the daemon tracks."""
        return shutil.copy2(os.path.realpath(PYTHON), self.path / "python")

    def puppet(self):
        process = self.start(self.python(), PROGRAM).process
        return Puppet(self.path, process.stdout, process.stdin)

    def greedy(self, what, count, processes=1, uid=CULPRIT, libraries=None):
        """Returns the workload, its pids and their ledgers, as soon as it has all that it wants."""
        name = self.ledgers / f"{what}-{time.monotonic_ns()}-"
        options = ["--uid", uid, "--processes", processes]
        places = {"SIMCUDA_DIR": str(libraries or self.simcuda)}
        process = self.workload(self.path / "greedy", *options, what, count, name, **places)
        pids = process.line()["pids"]
        return process, dict(zip(pids, (f"{name}{i}" for i in range(processes))))


@pytest.fixture
def playground(open_directory, workload):
    return Playground(open_directory, workload)


@pytest.fixture
def start_fair(start_daemon, playground, monkeypatch):
    """A daemon that has nothing to do with others' processes on this host."""
    options = os.environ.get("ASAN_OPTIONS", "")
    monkeypatch.setenv("ASAN_OPTIONS", f"{options}:quarantine_size_mb=0".lstrip(":"))

    def start(**how):
        which = ("--include-exe", f"{playground.path}/*")
        return start_daemon(*which, libraries=(f"{playground.simcuda}/*.so.*",), **how)

    return start


@pytest.fixture
def daemon(start_fair):
    return start_fair()


@pytest.fixture
def narrow(start_fair):
    """A daemon with small limits, see NARROW_BOUNDS in tests.mk."""
    return start_fair(binary=NARROW)


@pytest.fixture
def others(daemon, playground):
    return playground.others(daemon)


class Others:
    def __init__(self, daemon, churns):
        self.daemon, self.churns = daemon, churns

    def rounds(self, patience=20):
        """They do something, and are shown as exactly what they are."""
        for churn in self.churns:
            churn.start_round()
        for churn in self.churns:
            churn.end_round()
        for churn in self.churns:
            assert_equal_to_ledger(self.daemon, churn.pid, churn.ledger, patience)
            assert self.daemon.process_row(churn.pid)["partial"] == []


def limits(daemon):
    """{name: entry}; and the daemon is not too busy to tell."""
    began = time.monotonic()
    status = daemon.ctl("status")
    assert time.monotonic() - began < ANSWERS_WITHIN
    return {limit["name"]: limit for limit in status["limits"]}


def lost(daemon, cause):
    return daemon.ctl("status")["events"]["lost"][cause]


def resident(daemon):
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def assert_small(daemon):
    """No larger than what its limits allow for what it holds."""
    held = limits(daemon)
    allowed = IDLE_BYTES + held["allocations"]["used"] * BYTES_PER_ALLOCATION
    allowed += held["site_bytes"]["limit"] + held["cache_bytes"]["limit"]
    if BIN != BUILD:
        allowed *= 3  # AddressSanitizer
    assert resident(daemon) < allowed


def partial(daemon, pid):
    row = daemon.process_row(pid)
    return row["partial"] if row else []


def is_marked(daemon, pid):
    return "limit" in partial(daemon, pid)


def granted(daemon):
    """The kernel's sum of what is granted, of each pool."""
    (all_users,) = [
        e["formatted"]["value"]["used"]
        for e in kernel.map_entries(daemon.process.pid, "shares")
        if e["formatted"]["key"] == 0
    ]
    return all_users


def assert_returned(daemon, live_own=LIVE_OWN):
    """Nobody who is gone holds anything, and what is granted together is what is held."""
    own = (0, live_own, CHUNKS_OWN, HANDLES_OWN, THREADS_OWN)

    def entries(name):
        return [e["formatted"] for e in kernel.map_entries(daemon.process.pid, name)]

    def returned():
        grants = entries("grants")
        beyond = [
            [max(0, held - n) for held, n in zip(grant["value"]["used"], own)] for grant in grants
        ]
        held = [sum(column) for column in zip(*beyond, [0] * len(own))]
        there = {image["value"]["image"] for image in entries("processes")}
        return {grant["key"] for grant in grants} == there and granted(daemon) == held

    wait_until(returned, "what others held is returned")


def test_one_that_ends(daemon, playground):
    """Where nothing else happens, nothing else gives back what it held."""
    culprit, ledgers = playground.greedy("blocks", 1000)
    ((pid, ledger),) = ledgers.items()
    wait_until(lambda: as_entries(daemon.allocs(pid)) == read_ledger(ledger), "all is shown")
    culprit.kill()
    wait_until(lambda: pid not in daemon.pids(), "it is gone")
    assert_returned(daemon)
    assert daemon.ctl("status")["events"]["recovered"] == 0


def test_allocates_without_end(daemon, playground, others):
    others.rounds()
    culprits, ledgers = playground.greedy("blocks", LIVE_SHARED // 4, processes=2)
    others.rounds()

    wait_until(lambda: all(is_marked(daemon, pid) for pid in ledgers), "both are marked")
    counts = []
    for pid, ledger in ledgers.items():
        shown = daemon.allocs(pid)
        assert as_entries(shown) <= read_ledger(ledger)
        counts.append(len(shown))
    # Whoever is refused holds as much as would be left to its user; together that is less than half.
    assert min(counts) > LIVE_SHARED // 8
    assert LIVE_SHARED // 3 < sum(counts) <= LIVE_SHARED // 2 + 2 * LIVE_OWN
    status = daemon.ctl("status")
    assert status["events"]["lost"]["process_limit"] == 2 * (LIVE_SHARED // 4) - sum(counts)
    assert status["events"]["lost"]["live_full"] == 0
    assert limits(daemon)["allocations"]["refused"] > 0
    assert_small(daemon)
    others.rounds()
    assert_conserved(daemon.ctl("status"))

    culprits.kill()
    wait_until(lambda: not daemon.pids() & set(ledgers), "they are gone")
    others.rounds()
    assert_returned(daemon)
    assert_conserved(daemon.ctl("status"))


def test_no_two_stacks_alike(daemon, playground, others):
    others.rounds()
    culprits, ledgers = playground.greedy("stacks", STACKS // 3, processes=3)
    others.rounds()
    for pid, ledger in ledgers.items():
        wait_until(lambda p=pid: is_marked(daemon, p), "it is marked")
        assert_equal_to_ledger(daemon, pid, ledger, patience=60)
        sites = daemon.ctl("sites", pid, "--limit", "0")["sites"]
        assert 1000 < len(sites) <= SITES + 1
    held = limits(daemon)
    assert held["stack_pieces"]["used"] <= held["stack_pieces"]["limit"] * 3 // 4
    assert held["stack_pieces"]["refused"] > 0
    assert_small(daemon)

    # One that comes now finds room for its stacks.
    _, late = playground.greedy("stacks", 300, uid=OTHER)
    ((pid, ledger),) = late.items()
    assert_equal_to_ledger(daemon, pid, ledger)
    assert daemon.process_row(pid)["partial"] == []
    sites = daemon.ctl("sites", pid, "--limit", "0")["sites"]
    assert len(sites) > 250 and all(len(s["native"]) > 20 for s in sites)
    others.rounds()
    culprits.kill()
    wait_until(lambda: limits(daemon)["site_bytes"]["used"] < MIB, "the sites are gone")



MAP_COPIES = """
import mmap, os, pathlib, sys
source, folder, count, keep = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "keep"
content, kept = pathlib.Path(source).read_bytes(), []
for number in range(count):
    path = folder / f"libcudart.so.{number}"
    path.write_bytes(content)
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    if keep:
        kept.append(mapped)
    else:
        mapped.close()
        path.unlink()
print('{"phase": "mapped"}', flush=True)
sys.stdin.readline()
"""


def map_copies(playground, count, keep, uid=CULPRIT):
    """Copies of a runtime that belong to the user and are mapped, all at once or one at a time."""
    folder = playground.ledgers / f"copies-{keep}-{uid}-{count}"
    folder.mkdir()
    os.chmod(folder, 0o777)
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    source = playground.simcuda / "libcudart.so.13"
    python = playground.path / "python"
    if not python.exists():
        shutil.copy2(os.path.realpath(PYTHON), python)
    process = playground.start(*user, python, "-c", MAP_COPIES, source, folder, count, keep)
    return process, folder


def probed(daemon, folder):
    return [p for p in daemon.ctl("status")["probes"] if p["binary"].startswith(f"{folder}/")]


def assert_probes_new_library(daemon, playground, name):
    """A library of another user, in a place that the daemon does not know yet."""
    folder = playground.path / name
    shutil.copytree(playground.simcuda, folder)
    os.chown(folder / "libcudart.so.13", OTHER, OTHER)
    first, _ = playground.greedy("blocks", 10, uid=OTHER, libraries=folder)
    wait_until(lambda: len(probed(daemon, folder)) == 2, "runtime and driver are probed")
    first.kill()
    _, ledgers = playground.greedy("blocks", 100, uid=OTHER, libraries=folder)
    ((pid, ledger),) = ledgers.items()
    assert_equal_to_ledger(daemon, pid, ledger)
    assert daemon.process_row(pid)["partial"] == []


OVERLAYS = """
import ctypes, json, mmap, os, sys
lower, work, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
libc, kept = ctypes.CDLL(None, use_errno=True), []
os.mkdir(work + "/empty")
said = {}
for number in range(count):
    at = f"{work}/{number}"
    os.mkdir(at)
    options = f"lowerdir={lower}:{work}/empty,userxattr".encode()
    if libc.mount(b"overlay", at.encode(), b"overlay", 0, options) < 0:
        said["error"] = os.strerror(ctypes.get_errno())
        break
    with open(at + "/libcudart.so.13", "rb") as file:
        kept.append(mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))
print(json.dumps(said), flush=True)
sys.stdin.readline()
"""

OVERWRITE = """
import mmap, os, shutil, sys, time
path = sys.argv[2] + "/libcuda.so.1"
shutil.copy(sys.argv[1], path)
print("{}", flush=True)
while True:
    with open(path, "r+b", buffering=0) as f:
        mapped = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        time.sleep(0.05)
        byte = os.pread(f.fileno(), 1, 0)
        os.pwrite(f.fileno(), byte, 0)
        mapped.close()
"""


MAP_TINY = """
import ctypes, os, resource, sys
folder, count = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
files = []
for number in range(count):
    files.append(os.open(f"{folder}/libcudart.so.{number}", os.O_RDWR | os.O_CREAT, 0o755))
    os.write(files[-1], b"x" * 100)
print("{}", flush=True)
while True:
    for file in files:
        libc.munmap(libc.mmap(None, 4096, 5, 2, file, 0), 4096)
"""


def test_more_files_than_are_remembered(daemon, playground):
    """None of them has anything to probe, and each is mapped again and again."""
    folder = playground.ledgers / "tiny"
    folder.mkdir()
    os.chmod(folder, 0o777)
    user = ["setpriv", f"--reuid={CULPRIT}", f"--regid={CULPRIT}", "--clear-groups"]
    playground.start(*user, playground.python(), "-c", MAP_TINY, folder, TINY_FILES).line()
    assert_probes_new_library(daemon, playground, "new")
    for _ in range(10):
        began = time.monotonic()
        daemon.ctl("status")
        assert time.monotonic() - began < ANSWERS_WITHIN
    assert limits(daemon)["time"]["refused"] > 0


def test_library_that_is_overwritten_all_the_time(start_daemon, playground):
    """The kernel takes long to take perf links out; the daemon answers meanwhile, and does not go on
    to place them again and again."""
    daemon = start_daemon("--attach", "perf", libraries=())
    before = limits(daemon)["libraries"]["used"]
    folder = playground.ledgers / "overwritten"
    folder.mkdir()
    os.chmod(folder, 0o777)
    user = ["setpriv", f"--reuid={CULPRIT}", f"--regid={CULPRIT}", "--clear-groups"]
    source = playground.simcuda / "libcuda.so.1"
    playground.start(*user, PYTHON, "-c", OVERWRITE, source, folder).line()
    wait_until(lambda: "is being overwritten" in daemon.log(), "it is probed, and written to", 60)
    answers = [daemon.run("ps").returncode for _ in range(20)]
    assert set(answers) == {0}
    wait_until(lambda: limits(daemon)["libraries"]["used"] == before, "its probes are out", 60)
    refused = limits(daemon)["time"]["refused"]

    def asks_again():
        return limits(daemon)["time"]["refused"] > refused or placed() > 1

    def placed():
        return daemon.log().count(f"probing {folder}")

    wait_until(asks_again, "somebody maps it again")
    assert placed() == 1, "its user owes time"


@pytest.mark.parametrize("uid", [CULPRIT, 0])
def test_copies_of_a_library(daemon, playground, others, uid):
    others.rounds()
    before = limits(daemon)["libraries"]
    culprit, folder = map_copies(playground, COPIES, "keep", uid)
    others.rounds()
    culprit.line()
    wait_until(lambda: limits(daemon)["libraries"]["refused"] >= COPIES * 3 // 4, "are counted")
    held = limits(daemon)["libraries"]
    share = held["limit"] // (2 if uid == 0 else 3)
    assert share // 2 < len(probed(daemon, folder)) <= share
    assert held["used"] <= before["used"] + share
    wait_until(lambda: is_marked(daemon, culprit.pid), "it is marked")
    assert_probes_new_library(daemon, playground, "new")
    _, also_new = map_copies(playground, 1, "keep", uid if uid == 0 else OTHER)
    wait_until(lambda: len(probed(daemon, also_new)) == 1, "another process has room")
    assert_small(daemon)
    others.rounds()

    culprit.kill()
    shutil.rmtree(folder)
    # One after the other, as the kernel takes its time for each.
    wait_until(lambda: limits(daemon)["libraries"]["used"] < held["used"] - 10, "they go", 30)
    others.rounds()


def test_overlays_of_root_s_library(narrow, playground):
    """Each is a file of its own to those who look from outside; it is probed once, and has one
    place."""
    before = limits(narrow)["libraries"]
    user = ("setpriv", f"--reuid={CULPRIT}", f"--regid={CULPRIT}", "--clear-groups")
    unshared = ("unshare", "--user", "--map-root-user", "--mount", playground.python())
    for number in range(2):
        work = playground.ledgers / f"overlays{number}"
        work.mkdir()
        os.chown(work, CULPRIT, CULPRIT)
        culprit = playground.start(
            *user, *unshared, "-c", OVERLAYS, playground.simcuda, work, NARROW_COPIES
        )
        said = culprit.line()
        need("error" not in said, f"overlays in a user namespace: {said}")
        wait_until(lambda p=culprit.pid: p in narrow.pids(), "it is found")
    assert limits(narrow)["libraries"]["used"] <= before["used"] + 1
    assert_probes_new_library(narrow, playground, "new")


def test_copies_that_nobody_maps_any_more(narrow, playground):
    """Root's too: their files stay, and what was probed of them makes room where it is needed."""
    culprit, folder = map_copies(playground, NARROW_COPIES, "keep", uid=0)
    culprit.line()
    wait_until(lambda: is_marked(narrow, culprit.pid), "there is no room for all")
    held = len(probed(narrow, folder))
    culprit.kill()
    _, also = map_copies(playground, NARROW_COPIES - 1, "keep", uid=0)
    wait_until(lambda: len(probed(narrow, folder)) < held - 10, "they make room")
    wait_until(lambda: len(probed(narrow, also)) > held - 10, "which the others get")


def test_copies_made_and_deleted(daemon, playground, others):
    culprit, folder = map_copies(playground, COPIES, "delete")
    others.rounds()
    culprit.line()
    assert_probes_new_library(daemon, playground, "new")
    others.rounds()
    culprit.kill()
    # One after the other, as the kernel takes its time for each.
    left = len(probed(daemon, folder))
    wait_until(lambda: len(probed(daemon, folder)) <= max(left - 10, 0), "they go", 30)
    assert_small(daemon)


@pytest.mark.parametrize("what", ["children", "forks"])
def test_short_lived_children(daemon, playground, others, what):
    others.rounds()
    known = daemon.pids()
    culprits, parents = playground.greedy(what, 3, processes=4)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        others.rounds()
        assert_small(daemon)
    culprits.process.stdin.close()
    assert culprits.line()["rounds"] > 300
    culprits.kill()

    wait_until(lambda: not daemon.pids() & set(parents), "they are gone")
    assert_returned(daemon)
    wait_until(lambda: daemon.pids() == known, "so are their children")
    others.rounds()
    assert_conserved(daemon.ctl("status"))


def test_flood_of_events(narrow, playground):
    """Losses without an end are repaired in between, and the repairs leave time for all else."""
    others = playground.others(narrow)
    others.rounds()
    culprits, ledgers = playground.greedy("flood", 16)
    (pid,) = ledgers
    wait_until(lambda: lost(narrow, "ring_full") > 1000, "events are lost")
    others.rounds()
    before = lost(narrow, "ring_full")
    others.rounds()
    assert lost(narrow, "ring_full") > before, "it has gone on"
    assert narrow.ctl("status")["events"]["recovered"] > 0
    assert_small(narrow)
    culprits.kill()
    wait_until(lambda: pid not in narrow.pids(), "it is gone")
    others.rounds()
    assert_conserved(narrow.ctl("status"))


@pytest.mark.parametrize("uid", [CULPRIT, 0])
def test_more_processes_than_there_is_room_for(narrow, playground, uid):
    others = playground.others(narrow)
    others.rounds()
    before = granted(narrow)
    culprits, _ = playground.greedy("blocks", 3, processes=100, uid=uid)
    others.rounds()
    images = limits(narrow)["images"]
    assert images["refused"] >= 100 - images["limit"] // 2 and images["used"] <= 40
    _, ledgers = playground.greedy("blocks", 100, uid=OTHER)
    ((pid, ledger),) = ledgers.items()
    assert_equal_to_ledger(narrow, pid, ledger)
    culprits.kill()
    wait_until(lambda: granted(narrow)[0] <= before[0] + 1, "their images are returned")
    others.rounds()


@pytest.mark.parametrize("killed", [0, 1], ids=["", "killed"])
def test_process_that_is_refused_and_admitted_later(start_fair, playground, bpffs, killed):
    """What it did meanwhile is not known, nor to a daemon that was not there."""
    how = {"binary": NARROW, "pins": bpffs / "fair"}
    narrow = start_fair(**how)
    puppet = playground.puppet()
    before = granted(narrow)
    culprits, _ = playground.greedy("blocks", 3, processes=100, uid=0)
    for _ in range(killed):
        narrow.process.kill()
        narrow.process.wait()
    early = puppet.thread("early")
    early.cudaSetDevice(1)
    early.cudaMalloc(OUT, MIB)
    narrow = start_fair(**how) if killed else narrow
    both = ["late_attach", "limit"]
    wait_until(lambda: partial(narrow, puppet.pid) == both, "it is marked")
    assert set(narrow.process_row(puppet.pid)["outstanding"].values()) == {None}
    culprits.kill()
    wait_until(lambda: granted(narrow)[0] <= before[0] + 1, "their images are returned")
    puppet.cudaMalloc(OUT, 2 * MIB)
    early.cudaMalloc(OUT, 3 * MIB)
    puppet.thread("late").cudaMalloc(OUT, 4 * MIB)
    early.cudaSetDevice(1)
    early.cudaMalloc(OUT, 5 * MIB)
    wait_until(lambda: len(narrow.allocs(puppet.pid)) == 4, "what it takes now is shown")
    devices = {a["size"] // MIB: a["device"] for a in narrow.allocs(puppet.pid)}
    assert devices == {2: 0, 3: None, 4: 0, 5: 1}  # the runtime chooses at its first call
    assert partial(narrow, puppet.pid) == both


def test_threads_at_the_edge_of_what_is_their_own(start_daemon, workload):
    """Nobody is refused, and all is returned: who takes and who returns meet at the shared part."""
    process = workload(EDGE, EDGE_COUNT)
    process.line()
    daemon = start_daemon("--pid", str(process.pid))
    process.step()
    process.line()
    wait_until(lambda: daemon.allocs(process.pid) == [], "all of it is released")
    status = daemon.ctl("status")
    assert status["calls"]["frees_matched"] == status["calls"]["allocs_seen"] > 0
    assert lost(daemon, "handles") == lost(daemon, "process_limit") == 0
    assert_conserved(status)


@pytest.mark.parametrize("kept", [0, 1])
def test_more_mappings_than_there_is_room_for(narrow, playground, kept):
    """Memory that lasts by such a mapping alone is no longer shown, and does not count as freed. The
    last room goes to the memory's own record, or to that of where it is mapped.
    """
    puppet, page = playground.puppet(), 2 * MIB
    puppet.cuInit(0)
    count = NARROW_HANDLES * 5 // 16  # each takes two: more than a process may have
    va = puppet.cuMemAddressReserve(OUT, count * page, 0, 0, 0)
    for _ in range(kept):
        puppet.cuMemCreate(OUT, page, properties(), 0)
    for i in range(count):
        handle = puppet.cuMemCreate(OUT, page, properties(), 0)
        puppet.cuMemMap(va + i * page, page, 0, handle, 0)
        puppet.cuMemRelease(handle)
    wait_until(lambda: "limit" in partial(narrow, puppet.pid), "it is marked")
    shown = len(narrow.allocs(puppet.pid))
    assert NARROW_HANDLES // 5 < shown < count
    assert narrow.ctl("status")["calls"]["frees_matched"] == 0
    assert lost(narrow, "process_limit") == count + kept - shown
    assert_conserved(narrow.ctl("status"))
    puppet.cuMemUnmap(va, count * page)
    wait_until(lambda: len(narrow.allocs(puppet.pid)) == kept, "no more is left")
    assert narrow.ctl("status")["calls"]["frees_matched"] == shown - kept
    assert_conserved(narrow.ctl("status"))


def threads_granted(daemon, pid):
    """Of each image that the process has or has had and not given back all of."""
    grants = [e["formatted"]["value"] for e in kernel.map_entries(daemon.process.pid, "grants")]
    return [grant["used"][THREAD_GRANTS] for grant in grants if grant["tgid"] == pid]


@pytest.mark.parametrize("how", ["tracked again", "exec"])
def test_threads_that_are_older_than_what_their_process_is_now(daemon, playground, how):
    """They count for that, and not for what it was."""
    puppet = playground.puppet()
    threads = [puppet.thread(str(i)) for i in range(THREADS)]
    for thread in [puppet, *threads]:
        thread.cudaMalloc(OUT, MIB)
    assert threads_granted(daemon, puppet.pid) == [1 + THREADS]
    if how == "exec":
        puppet.become_anew()
        threads = []
    else:
        daemon.ctl("untrack", puppet.pid)
        daemon.ctl("track", puppet.pid)
    for thread in [puppet, *threads]:
        thread.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == 1 + len(threads), "what it has now")
    wait_until(lambda: threads_granted(daemon, puppet.pid) == [1 + len(threads)], "all for this")


def test_threads_that_are_refused_when_their_process_is_tracked_again(narrow, playground):
    puppet = playground.puppet()
    threads = [puppet.thread(str(i)) for i in range(THREADS)]
    for thread in threads:
        thread.cudaMalloc(OUT, MIB)
    narrow.ctl("untrack", puppet.pid)
    narrow.ctl("track", puppet.pid)
    playground.greedy("threads", 40, processes=20, uid=0)
    for thread in threads:
        thread.cudaMalloc(OUT, 2 * MIB)
    wait_until(lambda: "limit" in partial(narrow, puppet.pid), "it is marked")
    (admitted,) = filter(None, threads_granted(narrow, puppet.pid))
    assert THREADS_OWN <= admitted < THREADS and lost(narrow, "thread_storage") > 0
    assert len(narrow.allocs(puppet.pid)) == admitted


def test_threads_that_are_refused_and_admitted_later(narrow, playground):
    """Their devices are not known until they choose one again."""
    puppet = playground.puppet()
    before = granted(narrow)
    culprits, _ = playground.greedy("threads", 40, processes=20, uid=0)
    threads = [puppet.thread(str(i)) for i in range(THREADS)]
    for thread in threads:
        thread.cudaSetDevice(1)
    (admitted,) = threads_granted(narrow, puppet.pid)
    assert THREADS_OWN <= admitted < THREADS and lost(narrow, "thread_storage") > 0
    culprits.kill()
    wait_until(lambda: granted(narrow)[THREAD_GRANTS] <= before[THREAD_GRANTS] + THREADS, "room")
    for thread in threads:
        thread.cudaMalloc(OUT, MIB)
    puppet.thread("late").cudaMalloc(OUT, MIB)
    wait_until(lambda: len(narrow.allocs(puppet.pid)) == THREADS + 1, "all is shown")
    devices = [a["device"] for a in narrow.allocs(puppet.pid)]
    assert devices.count(1) == admitted and devices.count(None) == THREADS - admitted
    assert devices.count(0) == 1
    wait_until(lambda: partial(narrow, puppet.pid) == ["limit"], "it is marked")


def test_one_after_the_other(narrow, playground):
    """Each finds less than the one before, but all find something, and others as much as they need."""
    others = playground.others(narrow)
    others.rounds()
    count, held = 4000, []
    for _ in range(8):
        _, ledgers = playground.greedy("blocks", count)
        ((pid, ledger),) = ledgers.items()
        wait_until(lambda p=pid: narrow.process_row(p), "it is there")
        wait_until(
            lambda: as_entries(narrow.allocs(pid)) <= read_ledger(ledger)
            and (len(narrow.allocs(pid)) == count or is_marked(narrow, pid)),
            "all that it got is shown",
        )
        held.append(len(narrow.allocs(pid)))
    assert held[0] == count > held[-1] >= NARROW_LIVE_OWN and held == sorted(held, reverse=True)
    assert lost(narrow, "live_full") == 0
    others.churns = others.churns[1:]  # its user has nothing left that it could grow into
    others.rounds()


def test_culprits_end_while_no_daemon_runs(start_fair, playground, bpffs):
    """The next one gives back what they had."""
    how = {"binary": NARROW, "pins": bpffs / "fair"}
    first = start_fair(**how)
    others = playground.others(first)
    others.rounds()
    before = granted(first)
    culprits, ledgers = playground.greedy("blocks", 16000, processes=3)
    wait_until(lambda: all(is_marked(first, pid) for pid in ledgers), "they are marked")
    assert granted(first)[1] > before[1] + 9000
    first.process.kill()
    first.process.wait()
    culprits.kill()

    others.daemon = start_fair(**how)
    others.rounds()
    assert_returned(others.daemon, NARROW_LIVE_OWN)
    assert others.daemon.pids() >= {churn.pid for churn in others.churns}


def test_more_threads_than_there_is_room_for(narrow, playground):
    others = playground.others(narrow)
    others.rounds()
    culprits, ledgers = playground.greedy("threads", 400)
    ((pid, ledger),) = ledgers.items()
    wait_until(lambda: is_marked(narrow, pid), "it is marked")
    shown = as_entries(narrow.allocs(pid))
    assert 50 < len(shown) < 400 and shown < read_ledger(ledger)
    assert limits(narrow)["threads"]["refused"] >= 400 - len(shown)
    others.rounds()
    culprits.kill()
    assert_returned(narrow, NARROW_LIVE_OWN)
    others.rounds()


@pytest.mark.parametrize("uid", [CULPRIT, 0])
def test_more_handles_than_there_is_room_for(narrow, playground, uid):
    others = playground.others(narrow)
    others.rounds()
    wanted = NARROW_HANDLES * (10 if uid == 0 else 9) // 16  # more than it may have
    culprits, ledgers = playground.greedy("handles", wanted, uid=uid)
    ((pid, ledger),) = ledgers.items()
    wait_until(lambda: is_marked(narrow, pid), "it is marked")
    assert_equal_to_ledger(narrow, pid, ledger)  # as nothing was released
    held = limits(narrow)["handles"]
    assert held["limit"] // 4 < held["used"] <= held["limit"] * (5 if uid == 0 else 4) // 8
    assert held["refused"] > 0
    fellow, *strangers = others.churns
    others.churns = others.churns if uid == 0 else strangers  # the culprit has its fellows' too
    others.rounds()
    culprits.kill()
    others.churns = [fellow, *strangers]
    assert_returned(narrow, NARROW_LIVE_OWN)
    others.rounds()


FORK_IDLY = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
def allocate():
    assert runtime.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(4096)) == 0
allocate()
children = []
for _ in range(int(sys.argv[1])):
    children.append(os.fork())
    if not children[-1]:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()
print('{"phase": "forked"}', flush=True)
sys.stdin.readline()
"""


def test_children_that_never_call(narrow, playground):
    """They take nothing of what is known about the interpreters of others."""
    culprit = playground.start(playground.python(), "-c", FORK_IDLY, 200)
    assert culprit.line()["phase"] == "forked"
    other = playground.start(playground.path / "python", "-c", FORK_IDLY, 0)
    assert other.line()["phase"] == "forked"

    def named():
        sites = narrow.ctl("sites", other.pid)["sites"] if narrow.process_row(other.pid) else []
        return sites and sites[0]["python"]

    stack = wait_until(named, "its stack is Python's")
    assert [frame["function"] for frame in stack] == ["allocate", "<module>"]
    assert narrow.process_row(culprit.pid)["python"]
    culprit.step()
    culprit.end()
