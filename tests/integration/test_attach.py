# SPDX-License-Identifier: Apache-2.0
"""Which libraries are probed, when, and what is said about what came before that."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from conftest import LEAK, SIM, as_entries, count_is, need, read_ledger, step_to, wait_until
from puppet import Puppet, partial

RUNS = 100
COUNT = 20
RUNTIME = "libcudart.so.13"
DRIVER = "libcuda.so.1"
LIBRARIES_MAX = 256
# What the service may do, and no more.
SERVICE = ("setpriv", "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search")
GIB = 1 << 30

ALLOCATE_ON_REQUEST = """
import ctypes, os, sys
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
def allocate():
    ptr = ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(4096)) == 0
print('{"phase": "loaded"}', flush=True)
for _ in sys.stdin:
    allocate()
    print('{"phase": "allocated"}', flush=True)
"""

LOAD_ON_REQUEST = f"""
import sys
print('{{"phase": "started"}}', flush=True)
sys.stdin.readline()
{ALLOCATE_ON_REQUEST}"""

MAP_FILES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
PROT_READ, PROT_EXEC, MAP_PRIVATE, FAILED = 1, 4, 2, ctypes.c_void_p(-1).value
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        at = libc.mmap(None, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.fileno(), 0)
        assert at != FAILED, path
print('{"phase": "mapped"}', flush=True)
sys.stdin.readline()
"""

FORK_AT_ONCE = """
import ctypes, json, os, signal, sys, time
driver = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcuda.so.1") # so that no child maps anything
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
def allocate():
    assert runtime.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(4096)) == 0
children, ways, back = [], [], os.pipe()
for _ in range(60): # while the daemon is told of the mapping, looks who has it, and places probes
    time.sleep(0.001)
    way = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(way[1])
        for _ in range(2):
            allocate()
        os.read(way[0], 1)
        allocate()
        os.write(back[1], b"x")
        signal.pause()
    children.append(pid)
    ways.append(way)
print(json.dumps({"children": children}), flush=True)
sys.stdin.readline()
for way in ways:
    os.write(way[1], b"x")
for _ in children:
    os.read(back[0], 1)
print('{"phase": "allocated"}', flush=True)
sys.stdin.readline()
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""
CALLS_OF_CHILD = 3

# Its main thread ends as pthread_exit() does it.
WITHOUT_MAIN_THREAD = (
    "import threading\ndef main():\n"
    + "".join(f"    {line}\n" for line in ALLOCATE_ON_REQUEST.strip().splitlines())
    + "    os._exit(0)\n"
    + "threading.Thread(target=main).start()\n"
    + "import ctypes\nctypes.CDLL(None).syscall(60, 0)\n"  # x86-64: exit, of this thread alone
)


def stepping(workload, *options, libraries=SIM, count=COUNT, **how):
    """A leak that has loaded the runtime in that folder, and waits."""
    process = workload(LEAK, *options, "--step", count, 4096, SIMCUDA_DIR=str(libraries), **how)
    assert process.line()["phase"] == "loaded"
    return process


def known(daemon, pid):
    return wait_until(lambda: daemon.process_row(pid), f"process {pid} is known")


def binaries(daemon):
    return {probe["binary"] for probe in daemon.ctl("status")["probes"]}


def limit(daemon, name):
    (entry,) = [e for e in daemon.ctl("status")["limits"] if e["name"] == name]
    return entry


def wait_armed(daemon, *paths):
    wait_until(lambda: set(map(str, paths)) <= binaries(daemon), f"probes in {paths}")


def test_library_known_before_it_is_mapped(start_daemon, workload, private_libraries, tmp_path):
    """Nothing is missed, however soon the first call comes."""
    ledger, libraries = tmp_path / "ledger", private_libraries()
    daemon = start_daemon(libraries=(f"{libraries}/*.so.*",))
    for _ in range(RUNS):
        options = "--at-once", "--hold", "100", "--ledger", ledger
        process = workload(LEAK, *options, COUNT, 4096, SIMCUDA_DIR=str(libraries))
        assert process.line()["phase"] == "loaded"
        assert process.line()["phase"] == "allocated"
        count_is(daemon, process.pid, COUNT)
        assert as_entries(daemon.allocs(process.pid)) == read_ledger(ledger)
        assert daemon.process_row(process.pid)["partial"] == []
        process.kill()


@pytest.mark.parametrize("attach", ["multi", "perf"])
def test_library_first_seen_by_its_mapping(start_daemon, workload, private_libraries, attach):
    """What comes after its probes were placed is exact; that there was a before is said."""
    daemon = start_daemon("--attach", attach, libraries=())
    for run in range(1 if attach == "perf" else 5):
        libraries = private_libraries(f"private{run}")
        process = stepping(workload, "--then-free", libraries=libraries)
        wait_armed(daemon, libraries / RUNTIME)
        step_to(process, "allocated")
        count_is(daemon, process.pid, COUNT)
        wait_armed(daemon, libraries / DRIVER)
        assert "late_attach" in daemon.process_row(process.pid)["partial"]
        assert {a["api"] for a in daemon.allocs(process.pid)} == {"cudaMalloc"}
        step_to(process, "freed")
        count_is(daemon, process.pid, 0)
    assert daemon.ctl("status")["attach_mode"] == attach
    late = daemon.ctl("status")["late_attach"]
    assert late["count"] >= 1 and 0 < late["median_ms"] <= late["max_ms"]
    print(f"{attach}: armed {late['median_ms']:.1f} ms after the mapping (median)")


def test_calls_before_the_probes_are_owned_up_to(start_daemon, workload, private_libraries):
    """Whether or not a call slipped through, the process is marked, and nothing is made up."""
    daemon = start_daemon(libraries=())
    for run in range(5):
        libraries = private_libraries(f"private{run}")
        options = "--at-once", "--then-free", "--hold", "100"
        process = workload(LEAK, *options, COUNT, 4096, SIMCUDA_DIR=str(libraries))
        for phase in ("loaded", "allocated", "freed"):
            assert process.line()["phase"] == phase
        wait_armed(daemon, libraries / RUNTIME, libraries / DRIVER)
        assert "late_attach" in known(daemon, process.pid)["partial"]
        count_is(daemon, process.pid, 0)


def test_forked_before_the_probes(start_daemon, workload, private_libraries, tmp_path):
    """What a child that was forked meanwhile called is missing, and no mapping tells of it."""
    daemon = start_daemon(libraries=())
    daemon.process.send_signal(signal.SIGSTOP)
    parent = Puppet.start(workload, tmp_path / "parent", SIMCUDA_DIR=str(private_libraries()))
    child = parent.fork(tmp_path / "child")
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: child.pid in daemon.pids(), "it is found")
    assert partial(daemon, child.pid) == ["late_attach"]


def test_forked_while_probes_are_placed(start_daemon, workload, private_libraries):
    """Each child that was not seen from the start says so."""
    daemon = start_daemon(libraries=())
    for run in range(4):
        libraries = private_libraries(f"private{run}")
        parent = workload("/usr/bin/python3", "-c", FORK_AT_ONCE, SIMCUDA_DIR=str(libraries))
        children = parent.line()["children"]
        parent.step()
        assert parent.line()["phase"] == "allocated"  # with another call each

        def is_known(pid):
            return pid in daemon.pids() and (
                len(daemon.allocs(pid)) == CALLS_OF_CHILD or "late_attach" in partial(daemon, pid)
            )

        for child in children:
            wait_until(lambda pid=child: is_known(pid), "all of its calls are, or some are not")
        assert parent.end() == 0


def test_main_thread_that_has_ended(restart, workload):
    """Its other threads map what the process maps."""
    daemon = restart(libraries=())
    process = workload("/usr/bin/python3", "-c", WITHOUT_MAIN_THREAD)
    assert process.line()["phase"] == "loaded"
    wait_armed(daemon, SIM / RUNTIME)
    for _ in range(2):
        step_to(process, "allocated")
    count_is(daemon, process.pid, 2)
    before = binaries(daemon)
    daemon = restart.again(daemon, signal.SIGUSR1, libraries=())
    assert before <= binaries(daemon)
    step_to(process, "allocated")
    count_is(daemon, process.pid, 3)
    assert "taking out" not in daemon.log()


def test_free_of_what_was_allocated_before(start_daemon, workload):
    """The process was there first: its memory is not known, and each free of it says so."""
    process = stepping(workload, "--then-free")
    step_to(process, "allocated")
    daemon = start_daemon("--pid", str(process.pid))
    row = known(daemon, process.pid)
    assert "late_attach" in row["partial"] and daemon.allocs(process.pid) == []
    assert set(row["outstanding"].values()) == {None}, "which is not nothing"
    step_to(process, "freed")
    wait_until(
        lambda: daemon.ctl("status")["calls"]["frees_unknown"] == COUNT, "unknown frees counted"
    )
    wait_until(
        lambda: daemon.process_row(process.pid)["frees_unknown"] == COUNT, "and shown with it"
    )


@pytest.mark.parametrize("wrapper", [(), SERVICE], ids=["root", "service"])
def test_driver_that_was_replaced(start_daemon, workload, private_libraries, wrapper):
    """The file that a process maps has no name any more, and not every daemon may open it."""
    libraries = private_libraries()
    process = stepping(workload, "--then-free", libraries=libraries)
    step_to(process, "allocated")
    shutil.copy(libraries / DRIVER, libraries / "new")
    os.replace(libraries / "new", libraries / DRIVER)
    options = "--pid", str(process.pid)
    daemon = start_daemon(*options, libraries=(f"{libraries}/*.so.*",), wrapper=wrapper)
    row = known(daemon, process.pid)
    assert row["partial"] == ["late_attach"] and row["outstanding"]["device"] is None


def test_process_that_allocated_before_the_daemon(start_daemon, workload):
    process = workload("/usr/bin/python3", "-c", ALLOCATE_ON_REQUEST)
    process.line()
    step_to(process, "allocated")
    daemon = start_daemon()
    assert "late_attach" in known(daemon, process.pid)["partial"]
    assert daemon.allocs(process.pid) == []
    for n in range(1, 4):
        step_to(process, "allocated")
        count_is(daemon, process.pid, n)
    outstanding = daemon.process_row(process.pid)["outstanding"]
    assert outstanding["device"]["count"] == 3 and outstanding["host"] is None
    (site,) = daemon.ctl("sites", process.pid)["sites"]
    assert site["python"][0]["function"] == "allocate"


def test_process_older_than_the_daemon_that_loads_later(start_daemon, workload):
    process = workload("/usr/bin/python3", "-c", LOAD_ON_REQUEST)
    assert process.line()["phase"] == "started"
    daemon = start_daemon()
    assert process.pid not in daemon.pids()
    step_to(process, "loaded")
    wait_until(lambda: known(daemon, process.pid)["python"], "its Python is known")
    step_to(process, "allocated")
    count_is(daemon, process.pid, 1)
    assert daemon.process_row(process.pid)["partial"] == []
    (site,) = daemon.ctl("sites", process.pid)["sites"]
    assert site["python"][0]["function"] == "allocate"


def test_mount_namespace_of_its_own(daemon, workload, tmp_path):
    """The host cannot see the file by its path."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = f"mount -t tmpfs none {hidden} && cp {SIM}/* {hidden} && exec {LEAK} --step 20 4096"
    process = workload("unshare", "-m", "sh", "-c", script, SIMCUDA_DIR=str(hidden))
    assert process.line()["phase"] == "loaded"
    assert list(hidden.iterdir()) == []
    wait_armed(daemon, hidden / RUNTIME)
    step_to(process, "allocated")
    count_is(daemon, process.pid, 20)
    wait_armed(daemon, hidden / DRIVER)
    assert "late_attach" in daemon.process_row(process.pid)["partial"]
    (site,) = daemon.ctl("sites", process.pid)["sites"]
    assert [f["symbol"] for f in site["native"]][:3] == [
        "grow_workspace",
        "prepare_context",
        "handle_request",
    ]


@pytest.mark.parametrize("options", [(), ("--attach", "auto")])
def test_best_kind_of_link_is_chosen(start_daemon, options):
    release = [int(part) for part in os.uname().release.split(".")[:2]]
    expected = "multi" if release >= [6, 6] else "perf"
    assert start_daemon(*options).ctl("status")["attach_mode"] == expected


def test_pid_narrows(start_daemon, workload):
    wanted, other = stepping(workload), stepping(workload)
    daemon = start_daemon("--pid", str(wanted.pid))
    third = stepping(workload)
    for process in (wanted, other, third):
        step_to(process, "allocated")
    count_is(daemon, wanted.pid, COUNT)
    assert daemon.pids() == {wanted.pid}
    assert daemon.ctl("status")["calls"]["allocs_seen"] == COUNT


def test_names_of_one_file(start_daemon, workload, private_libraries, tmp_path):
    """A symbolic and a hard link lead to the file that is probed already."""
    libraries, links = private_libraries(), tmp_path / "links"
    links.mkdir()
    os.symlink(libraries / RUNTIME, links / RUNTIME)
    os.link(libraries / RUNTIME, links / "libcudart.so.12")
    os.symlink(libraries / DRIVER, links / DRIVER)
    patterns = (f"{libraries}/*.so.*", f"{links}/*.so.*")
    process = stepping(workload, "--lib", links / "libcudart.so.12", libraries=libraries)
    daemon = start_daemon("--pid", str(process.pid), libraries=patterns)

    private = [p for p in daemon.ctl("status")["probes"] if str(tmp_path) in p["binary"]]
    inodes = [os.stat(probe["binary"]).st_ino for probe in private]
    assert len(inodes) == len(set(inodes)) == 3
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.ctl("status")["calls"]["allocs_seen"] == COUNT


def malformed(directory):
    """Files with the name of a runtime that are none."""
    runtime = (SIM / RUNTIME).read_bytes()
    contents = {
        "empty": b"",
        "text": b"#!/bin/sh\n" * 500,
        "truncated": runtime[: len(runtime) // 2],
        "header": runtime[:64],
        "zeros": bytes(64 * 1024),
        "sections": runtime[:40] + b"\xff" * 24 + runtime[64:],
    }
    paths = []
    for name, content in contents.items():
        paths.append(directory / name / RUNTIME)
        paths[-1].parent.mkdir(parents=True)
        paths[-1].write_bytes(content)
    for name, start in (("sparse", b""), ("sparse-elf", runtime)):
        paths.append(directory / name / RUNTIME)
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(start)
        os.truncate(paths[-1], GIB)
    return paths


def assert_tracks(daemon, workload):
    process = stepping(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.process_row(process.pid)["partial"] == []


def test_malformed_libraries_on_disk(start_daemon, workload, tmp_path):
    paths = malformed(tmp_path / "files")
    (tmp_path / "files" / "fifo").mkdir()
    os.mkfifo(tmp_path / "files" / "fifo" / RUNTIME)
    (tmp_path / "files" / "folder" / RUNTIME).mkdir(parents=True)
    daemon = start_daemon(libraries=(f"{tmp_path}/files/*/*", f"{SIM}/*.so.*"))
    probed = {pathlib.Path(b).parent.name for b in binaries(daemon) if str(tmp_path) in b}
    assert probed <= {"sparse-elf"} and paths
    assert_tracks(daemon, workload)


def test_malformed_libraries_that_are_mapped(daemon, workload, tmp_path):
    paths = malformed(tmp_path / "files")
    process = workload("/usr/bin/python3", "-c", MAP_FILES, *paths)
    assert process.line()["phase"] == "mapped"
    assert_tracks(daemon, workload)
    probed = {pathlib.Path(b).parent.name for b in binaries(daemon) if str(tmp_path) in b}
    assert probed <= {"sparse-elf"}


def test_more_libraries_than_are_probed(start_daemon, workload, tmp_path):
    """What the bound turns away is counted; what was probed before stays exact."""
    folders = tmp_path / "copies"
    for number in range(LIBRARIES_MAX + 44):
        folder = folders / str(number)
        folder.mkdir(parents=True)
        shutil.copy(SIM / RUNTIME, folder)
    daemon = start_daemon(libraries=(f"{SIM}/*.so.*",))
    process = workload("/usr/bin/python3", "-c", MAP_FILES, *folders.glob("*/*"))
    assert process.line()["phase"] == "mapped"
    wait_until(lambda: limit(daemon, "libraries")["refused"] > 0, "refusals are counted")
    wait_until(lambda: limit(daemon, "libraries")["refused"] >= 44, "each is counted")
    entry = limit(daemon, "libraries")
    of_the_process = sum(str(folders) in binary for binary in binaries(daemon))
    assert entry["limit"] == LIBRARIES_MAX and entry["used"] == len(binaries(daemon))
    assert of_the_process == (LIBRARIES_MAX - (entry["used"] - of_the_process)) // 2
    assert "limit" in daemon.process_row(process.pid)["partial"]
    assert_tracks(daemon, workload)


@pytest.mark.parametrize("permitted", [True, False], ids=["root", "service"])
def test_links_that_miss_threads(start_daemon, tmp_path, permitted):
    """Linux 6.6 to 6.9, as the daemon sees them: a link may be made to a thread's number."""
    source, library = tmp_path / "gettid.c", tmp_path / "gettid.so"
    source.write_text("#include <unistd.h>\npid_t gettid(void) { return getpid(); }\n")
    need(shutil.which("gcc"), "gcc, to build a library")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    preload = ("env", f"LD_PRELOAD={library}", "ASAN_OPTIONS=verify_asan_link_order=0")
    wrapper = preload if permitted else SERVICE + preload
    daemon = start_daemon(wrapper=wrapper, libraries=())
    assert ("miss its threads" in daemon.log()) == permitted
    assert f"tracking with {'perf' if permitted else 'multi'} links" in daemon.log()
