# SPDX-License-Identifier: Apache-2.0
"""Libraries that are built, mounted, replaced or meant otherwise than usual, and ends unseen."""
import os
import re
import shutil
import signal
import subprocess

import kernel
import pytest
from conftest import (
    BIN,
    LEAK,
    PATIENCE,
    ROOT,
    SIM,
    built_as,
    count_is,
    need,
    read_ledger,
    step_to,
    wait_until,
)
from test_truth import assert_conserved

COUNT = 20
SIZE = 4096
DRIVER, RUNTIME = "libcuda.so.1", "libcudart.so.13"
FILLS_THE_RING = 70_000  # events
SHORT_PROCESSES = 40
STACKS = 300
TOO_LARGE = 1 << 63
QUEUED_EVENTS = 40_000  # more than fs.inotify.max_queued_events allows
LARGEST = (1 << 48) - 1  # one that could be
SUM_ABOVE_63_BITS = (1 << 15) + 1000  # allocations of that size
SUM_ABOVE_64_BITS = (1 << 16) + 1000
EXIT_FAILURE = 1
NARROW = built_as("narrow")  # looks soon for what is not mounted any more


def compile_library(path, sources, *flags):
    """Builds a shared library that is called as its file is."""
    need(shutil.which("gcc"), "gcc, to build libraries")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", path]
    subprocess.run([*command, *sources, *flags], check=True, timeout=60)
    return path


def lost(daemon, name):
    return daemon.ctl("status")["events"]["lost"][name]


def binaries(daemon):
    return {probe["binary"] for probe in daemon.ctl("status")["probes"]}


def shown(daemon, pid):
    return {(a["ptr"], a["size"]) for a in daemon.allocs(pid)}


def truth(ledger):
    return {(ptr, size) for ptr, size, _, _ in read_ledger(ledger)}


# Functions that jump into the driver instead of calling it: one return for two entries.

TAIL_CALLS = """
#include <stddef.h>
int cuMemAlloc_v2(unsigned long long *ptr, size_t size);
int cuMemFree_v2(unsigned long long ptr);
int cudaMalloc(void **ptr, size_t size) { return cuMemAlloc_v2((unsigned long long *)ptr, size); }
int cudaFree(void *ptr) { return cuMemFree_v2((unsigned long long)ptr); }
"""

ALLOCATE_AND_FREE = """
import ctypes, json, sys
driver = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
runtime = ctypes.CDLL(sys.argv[2])
runtime.cudaFree.argtypes = [ctypes.c_void_p]
context = ctypes.c_void_p()
assert driver.cuInit(0) == 0
assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert driver.cuCtxSetCurrent(context) == 0

def allocate():
    ptr = ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(4096)) == 0
    return ptr.value

def phase(name):
    assert driver.simcuda_ledger_write(sys.argv[3].encode()) == 0
    print(json.dumps({"phase": name}), flush=True)
    sys.stdin.readline()

phase("loaded")
kept = [allocate() for _ in range(20)]
phase("allocated")
for _ in range(5):
    assert runtime.cudaFree(kept.pop()) == 0
phase("freed")
driver.simcuda_fail_next(5, 999)
for ptr in kept[:5]:
    assert runtime.cudaFree(ptr) == 999
phase("not freed")
driver.simcuda_fail_next(5, 2)
for _ in range(5):
    assert runtime.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(4096)) == 2
kept += [allocate() for _ in range(3)]
phase("allocated again")
for ptr in kept:
    assert runtime.cudaFree(ptr) == 0
phase("all freed")
"""


def jumps(library, function):
    """Whether the function leaves by a jump alone."""
    command = ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", library]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body = code.split(f"<{function}>:")[1]
    words = re.findall(r"^\s+[0-9a-f]+:\s+(?:bnd |notrack )?(\w+)", body, re.MULTILINE)
    return "jmp" in words and not {"call", "ret"} & set(words)


@pytest.mark.parametrize("attach", ["multi", "perf"])
def test_tail_calls(start_daemon, workload, tmp_path, private_libraries, attach):
    driver = private_libraries() / DRIVER
    source, ledger = tmp_path / "tail.c", tmp_path / "ledger"
    source.write_text(TAIL_CALLS)
    shim = compile_library(tmp_path / "shim" / "libcudart.so.12", [source], "-O2", driver)
    assert jumps(shim, "cudaMalloc") and jumps(shim, "cudaFree")

    process = workload("/usr/bin/python3", "-c", ALLOCATE_AND_FREE, driver, shim, ledger)
    assert process.line()["phase"] == "loaded"
    libraries = (str(shim), str(driver))
    daemon = start_daemon("--attach", attach, "--pid", str(process.pid), libraries=libraries)
    for phase, count in [
        ("allocated", 20),
        ("freed", 15),
        ("not freed", 15),
        ("allocated again", 18),
        ("all freed", 0),
    ]:
        step_to(process, phase)
        count_is(daemon, process.pid, count)
        assert shown(daemon, process.pid) == truth(ledger)
        assert {a["api"] for a in daemon.allocs(process.pid)} <= {"cudaMalloc"}
    status = daemon.ctl("status")
    assert status["events"]["lost"]["lost_return"] == 0
    calls = status["calls"]
    assert (calls["allocs_seen"], calls["frees_matched"]) == (23, 23)
    assert (calls["failed_allocs"], calls["failed_frees"]) == (5, 5)
    assert calls["frees_unknown"] == 0
    assert_conserved(status)


# A function whose first instruction cannot be probed.

REFUSED = """
#include <stdlib.h>
int cudaMalloc(void **ptr, size_t size) { return !(*ptr = malloc(size)); }
int cudaFree(void *ptr) { free(ptr); return 0; }
__asm__(".text\\n.globl cudaMallocHost\\n.type cudaMallocHost, @function\\ncudaMallocHost:\\n"
        "hlt\\nret\\n.size cudaMallocHost, . - cudaMallocHost\\n");
"""

ON_REQUEST = """
import ctypes, sys
runtime = ctypes.CDLL(sys.argv[1])
print('{"phase": "loaded"}', flush=True)
sys.stdin.readline()
assert runtime.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(4096)) == 0
print('{"phase": "allocated"}', flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("attach", ["multi", "perf"])
def test_function_that_cannot_be_probed(start_daemon, workload, tmp_path, attach):
    """The others are all the same, and it is said which is not."""
    source = tmp_path / "refused.c"
    source.write_text(REFUSED)
    library = compile_library(tmp_path / "odd" / "libcudart.so.12", [source], "-O1")
    process = workload("/usr/bin/python3.11", "-c", ON_REQUEST, library)
    assert process.line()["phase"] == "loaded"
    daemon = start_daemon("--attach", attach, "--pid", str(process.pid), libraries=())
    wait_until(lambda: str(library) in binaries(daemon), "it is probed")
    step_to(process, "allocated")
    count_is(daemon, process.pid, 1)
    (probe,) = [p for p in daemon.ctl("status")["probes"] if p["binary"] == str(library)]
    assert [skipped["symbol"] for skipped in probe["skipped"]] == ["cudaMallocHost"]


# One file that looks like two.


def overlay_user(workload, lower, merged, ledger):
    """Waits for a line, then becomes a leak that sees its libraries in an overlay over `lower`, in
    a mount namespace of its own; or in `lower` itself, without `merged`."""
    leak = f"exec {LEAK} --step --then-free --ledger {ledger} {COUNT} {SIZE}"
    if not merged:
        return workload("sh", "-c", f"read line && {leak}", SIMCUDA_DIR=str(lower))
    empty = merged.parent / "empty"
    empty.mkdir(exist_ok=True)
    merged.mkdir()
    mount = f"mount -t overlay overlay -o lowerdir={lower}:{empty} {merged}"
    script = f"read line && {mount} && {leak}"
    return workload("unshare", "-m", "sh", "-c", script, SIMCUDA_DIR=str(merged))


def can_overlay(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "try" / name).mkdir(parents=True)
    at = tmp_path / "try"
    mount = ["unshare", "-m", "mount", "-t", "overlay", "overlay", "-o", f"lowerdir={at}/a:{at}/b"]
    return subprocess.run([*mount, at / "c"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("first", ["daemon", "processes"])
def test_overlays_of_one_library(start_daemon, workload, tmp_path, private_libraries, first):
    """Each overlay, and what lies below, is a file of its own to those who look from outside; it is
    one file to the kernel, and is probed once."""
    need(can_overlay(tmp_path), "the right to mount overlays")
    lower, one, two = private_libraries("lower"), tmp_path / "one", tmp_path / "two"
    ledgers = [tmp_path / f"ledger{n}" for n in range(3)]
    processes = [
        overlay_user(workload, lower, merged, ledger)
        for merged, ledger in zip((one, two, None), ledgers)
    ]
    if first == "processes":
        for process in processes:
            step_to(process, "loaded")
    pids = [option for process in processes for option in ("--pid", str(process.pid))]
    daemon = start_daemon(*pids, libraries=())
    if first == "daemon":
        for process in processes:
            step_to(process, "loaded")
    for name in (DRIVER, RUNTIME):
        files = {str(folder / name) for folder in (one, two, lower)}
        wait_until(lambda f=files: f & binaries(daemon), "it is probed")

    for phase, count in (("allocated", COUNT), ("freed", 0)):
        for process in processes:
            step_to(process, phase)
        for process, ledger in zip(processes, ledgers):
            count_is(daemon, process.pid, count)
            assert shown(daemon, process.pid) == truth(ledger)
            assert {a["api"] for a in daemon.allocs(process.pid)} <= {"cudaMalloc"}
    status = daemon.ctl("status")
    assert status["calls"]["allocs_seen"] == status["calls"]["frees_matched"] == 3 * COUNT
    assert status["calls"]["frees_unknown"] == status["calls"]["superseded"] == 0
    assert lost(daemon, "lost_return") == lost(daemon, "return_without_entry") == 0
    assert len([path for path in binaries(daemon) if str(tmp_path) in path]) == 2


@pytest.mark.parametrize("ended", ["replicas", "containers"])
def test_overlays_that_are_gone(start_daemon, workload, tmp_path, private_libraries, ended):
    """Their probes stay for as long as one of them is used, and not for ever, as that would keep a
    file system that nobody has mounted any more."""
    need(can_overlay(tmp_path), "the right to mount overlays")
    lower = private_libraries("lower")
    daemon = start_daemon(libraries=(), binary=NARROW)
    users = [
        overlay_user(workload, lower, tmp_path / name, tmp_path / f"ledger-{name}")
        for name in ("a", "b", "c")
    ]
    for user in users:
        step_to(user, "loaded")
    files = {str(tmp_path / name / RUNTIME) for name in ("a", "b", "c")}
    wait_until(lambda: files & binaries(daemon), "it is probed")
    stays = users.pop() if ended == "replicas" else None
    for user in users:
        user.kill()
    if stays:
        of_another = overlay_user(
            workload, private_libraries("another"), tmp_path / "d", tmp_path / "ledger-d"
        )
        step_to(of_another, "loaded")
        its = str(tmp_path / "d" / RUNTIME)
        wait_until(lambda: its in binaries(daemon), "it is probed")
        of_another.kill()
        wait_until(lambda: its not in binaries(daemon), "its probes are out")
        step_to(stays, "allocated")
        count_is(daemon, stays.pid, COUNT)
        stays.kill()
    wait_until(lambda: not files & binaries(daemon), "the probes are out")


def test_overlay_of_two_file_systems(start_daemon, workload, tmp_path):
    """Its layers number their files for themselves, and so does it: two files have one number."""
    need(can_overlay(tmp_path), "the right to mount overlays")
    daemon = start_daemon(libraries=())
    one, two, merged = (tmp_path / name for name in ("one", "two", "merged"))
    for folder in (one, two, merged):
        folder.mkdir()
    script = (
        f"mount -t tmpfs one {one} && mount -t tmpfs two {two} && cp {SIM}/{RUNTIME} {one} && "
        f"cp {SIM}/{DRIVER} {two} && mount -t overlay overlay -o lowerdir={one}:{two} {merged} && "
        f"exec {LEAK} --step {COUNT} {SIZE}"
    )
    user = workload("unshare", "-m", "sh", "-c", script, SIMCUDA_DIR=str(merged))
    user.line()
    step_to(user, "allocated")
    for name in (RUNTIME, DRIVER):
        wait_until(lambda n=name: str(merged / n) in binaries(daemon), f"{name} is probed")


def test_snapshot_of_a_subvolume(start_daemon, workload, tmp_path):
    """Its files have the device and inode numbers of those that they were."""
    need(shutil.which("mkfs.btrfs"), "btrfs-progs")
    image, at = tmp_path / "image", tmp_path / "btrfs"
    at.mkdir()
    image.touch()
    os.truncate(image, 256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, at], check=False).returncode == 0
    need(mounted, "btrfs in the kernel, and loop devices")
    try:
        subprocess.run(["btrfs", "-q", "subvolume", "create", at / "a"], check=True)
        for path in SIM.glob("libcud*"):
            shutil.copy2(path, at / "a")
        os.sync()
        subprocess.run(["btrfs", "-q", "subvolume", "snapshot", at / "a", at / "b"], check=True)
        assert (at / "a" / DRIVER).stat().st_ino == (at / "b" / DRIVER).stat().st_ino
        daemon = start_daemon(libraries=())
        users = []
        for number, name in enumerate("ab"):
            users.append(workload(LEAK, "--step", COUNT + number, SIZE, SIMCUDA_DIR=str(at / name)))
            users[-1].line()
            wait_until(lambda n=name: str(at / n / RUNTIME) in binaries(daemon), "it is probed")
        for number, user in enumerate(users):
            step_to(user, "allocated")
            count_is(daemon, user.pid, COUNT + number)
            user.kill()
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def writable_overlay_user(workload, tmp_path, libraries, where):
    """The same with a layer above that takes writes; the libraries lie there, or below."""
    layers = {name: tmp_path / "layers" / name for name in ("lower", "upper", "work", "merged")}
    for folder in layers.values():
        folder.mkdir(parents=True)
    for path in libraries.iterdir():
        shutil.copy2(path, layers[where])
    options = ",".join(f"{name}dir={layers[name]}" for name in ("lower", "upper", "work"))
    leak = f"exec {LEAK} --step --then-free {COUNT} {SIZE}"
    script = f"read line && mount -t overlay overlay -o {options} {layers['merged']} && {leak}"
    merged = layers["merged"]
    user = workload("unshare", "-m", "sh", "-c", script, SIMCUDA_DIR=str(merged))
    return user, layers[where], merged


@pytest.mark.parametrize("where", ["lower", "upper"])
def test_write_to_an_overlay(start_daemon, workload, tmp_path, private_libraries, where):
    """Who writes to what lies below gets a copy of it, and the others' file is as it was; what lies
    above is what is probed."""
    need(can_overlay(tmp_path), "the right to mount overlays")
    daemon = start_daemon(libraries=())
    culprit, libraries, merged = writable_overlay_user(
        workload, tmp_path, private_libraries(), where
    )
    step_to(culprit, "loaded")
    wait_until(lambda: str(merged / RUNTIME) in binaries(daemon), "it is found and probed")
    other = overlay_user(workload, libraries, None, tmp_path / "ledger")
    step_to(other, "loaded")
    with open(f"/proc/{culprit.pid}/root{merged}/{RUNTIME}", "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(byte)
    if where == "upper":
        wait_until(lambda: "is being overwritten" in daemon.log(), "its probes are taken out")
        return
    for phase, count in (("allocated", COUNT), ("freed", 0)):
        step_to(other, phase)
        count_is(daemon, other.pid, count)
    assert "is being overwritten" not in daemon.log()


# A library that changes below its probes.


def other_build(path):
    """The same runtime, its functions elsewhere in the file."""
    sources = [p for p in (ROOT / "tests" / "simcuda").glob("runtime_*.c")]
    sources.append(ROOT / "tests" / "simcuda" / "errors.c")
    flags = ["-std=gnu11", "-D_GNU_SOURCE", f"-I{ROOT}/include", "-O2", "-fvisibility=hidden"]
    flags += ["-DSIMCUDA_RUNTIME_VERSION=13000", "-Wl,-rpath,$ORIGIN"]
    return compile_library(path, sources, *flags)


def test_library_overwritten_in_place(start_daemon, workload, tmp_path, private_libraries):
    libraries = private_libraries()
    library, other = libraries / RUNTIME, other_build(tmp_path / "other" / RUNTIME)
    before, after = (kernel.symbol_offset(path, "cudaMalloc") for path in (library, other))
    assert before != after
    daemon = start_daemon(libraries=(f"{libraries}/*.so.*",))
    first = workload(LEAK, "--step", COUNT, SIZE, SIMCUDA_DIR=str(libraries))
    assert first.line()["phase"] == "loaded"
    step_to(first, "allocated")
    count_is(daemon, first.pid, COUNT)
    assert first.end() == 0
    inode = os.stat(library).st_ino

    subprocess.run(["sh", "-c", 'cat "$1" > "$2"', "sh", other, library], check=True)
    assert os.stat(library).st_ino == inode
    wait_until(lambda: str(library) not in binaries(daemon), "its probes are taken out")
    for _ in range(3):
        process = workload(LEAK, "--step", "--then-free", COUNT, SIZE, SIMCUDA_DIR=str(libraries))
        assert process.line()["phase"] == "loaded"
        wait_until(lambda: str(library) in binaries(daemon), "it is probed anew")
        step_to(process, "allocated")
        count_is(daemon, process.pid, COUNT)
        assert {a["api"] for a in daemon.allocs(process.pid)} == {"cudaMalloc"}
        assert set(daemon.process_row(process.pid)["partial"]) <= {"late_attach"}
        step_to(process, "freed")
        count_is(daemon, process.pid, 0)
        process.step()
        assert process.end() == 0
    said = [line for line in daemon.log().splitlines() if "is being overwritten" in line]
    assert len(said) == 1 and str(library) in said[0], said


# A library that says what cannot be.

LIAR = """
#include <stddef.h>
static size_t last = 4096;
int cudaMalloc(void **ptr, size_t size) { *ptr = (void *)(last += 4096); return size ? 0 : 1; }
int cudaFree(void *ptr) { return ptr ? 0 : 1; }
"""


@pytest.fixture
def liar(tmp_path):
    source = tmp_path / "liar.c"
    source.write_text(LIAR)
    return compile_library(tmp_path / "liar" / "libcudart.so.12", [source], "-O1")


def lie(daemon, workload, library, count, size):
    """A process that uses it; the daemon has seen it all."""
    process = workload(LEAK, "--step", "--lib", library, count, size)
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: str(library) in binaries(daemon), "it is probed")
    step_to(process, "allocated")
    return process


def assert_all_can_be_shown(daemon, honest, liar):
    """Every view of either process, for people and for programs."""
    assert daemon.process_row(honest.pid)["partial"] == []
    assert "sites" in daemon.ctl("sites", liar.pid)
    (site,) = daemon.ctl("sites", honest.pid)["sites"]
    assert (site["count"], site["bytes"]) == (COUNT, COUNT * SIZE)
    for command in (["ps"], ["sites", honest.pid], ["sites", liar.pid], ["status"]):
        run = daemon.run(*command)
        assert run.returncode == 0, run.stderr


def honest_process(daemon, workload):
    process = workload(LEAK, "--step", COUNT, SIZE)
    assert process.line()["phase"] == "loaded"
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    return process


def test_size_that_cannot_be(start_daemon, workload, liar):
    daemon = start_daemon(libraries=(str(liar), f"{SIM}/*.so.*"))
    honest = honest_process(daemon, workload)
    process = lie(daemon, workload, liar, COUNT, TOO_LARGE)
    wait_until(lambda: lost(daemon, "unreadable") == COUNT, "each of them is counted", 5)
    assert_all_can_be_shown(daemon, honest, process)
    assert daemon.allocs(process.pid) == []
    wait_until(lambda: daemon.process_row(process.pid)["partial"] == ["limit"], "it is marked")
    wait_until(lambda: is_conserved(daemon), "no allocation is counted twice, or not at all")


@pytest.mark.parametrize("count", [SUM_ABOVE_63_BITS, SUM_ABOVE_64_BITS])
def test_sum_that_cannot_be(start_daemon, workload, liar, count):
    """Each size alone could be; all of them together do not fit a number of JSON, or of C."""
    daemon = start_daemon(libraries=(str(liar), f"{SIM}/*.so.*"))
    honest = honest_process(daemon, workload)
    process = lie(daemon, workload, liar, count, LARGEST)
    wait_until(
        lambda: daemon.ctl("status")["tables"]["allocations"] >= count, "it is in the tables"
    )
    assert_all_can_be_shown(daemon, honest, process)
    assert process.pid in daemon.pids()


def test_more_writes_than_are_told(start_daemon, workload, private_libraries):
    """Whoever writes more than the kernel tells of harms no probes but those in his own files."""
    mine = [private_libraries(f"mine{i}") / "libcudart.so.13" for i in range(3)]
    daemon = start_daemon(libraries=(*map(str, mine), f"{SIM}/*.so.*"))
    honest = honest_process(daemon, workload)

    def probed():
        return {p["binary"] for p in daemon.ctl("status")["probes"]}

    assert {str(path) for path in mine} <= probed()
    daemon.process.send_signal(signal.SIGSTOP)
    files = [open(path, "r+b", buffering=0) for path in mine[:2]]
    for i in range(QUEUED_EVENTS):
        files[i % 2].seek(0)
        files[i % 2].write(b"\x7f")
    for file in files:
        file.close()
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not {str(path) for path in mine[:2]} & probed(), "they are noticed")

    def last_is_noticed():
        with open(mine[2], "r+b", buffering=0) as file:
            file.write(b"\x7f")
        return str(mine[2]) not in probed()

    wait_until(last_is_noticed, "all that waited has been read")
    assert str(SIM / "libcudart.so.13") in probed()

    def every_probe_is_pinned():
        pins = list(daemon.pins.glob("object_*/library_*"))
        return len(pins) == len(daemon.ctl("status")["probes"])

    # Others on this host may be found just now.
    wait_until(every_probe_is_pinned, "as many pins as probes")
    assert daemon.process_row(honest.pid)["partial"] == []


# A path that is in use for something else.


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_socket_path_that_is_taken(tmp_path, kind):
    need(os.geteuid() == 0, "root, to load BPF programs")
    path, content = tmp_path / "taken", b"somebody's\n"
    if kind == "file":
        path.write_bytes(content)
    else:
        path.mkdir()
        (path / "inside").write_bytes(content)
    before = path.stat()
    command = [BIN / "srtleakd", "--socket", path, "--listen", "none"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == EXIT_FAILURE, run.stderr
    complaints = [line for line in run.stderr.splitlines() if line.startswith("<3>")]
    assert len(complaints) == 1 and str(path) in complaints[0], run.stderr
    assert run.stdout == ""
    after = path.stat()
    same = "st_mode", "st_ino", "st_uid", "st_gid", "st_size"
    assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
    assert (path if kind == "file" else path / "inside").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# Ends that nobody was told of.


def images(daemon, name):
    """The images in the kernel's map of that name."""
    entries = [e["formatted"] for e in kernel.map_entries(daemon.process.pid, name)]
    if name == "processes":
        return {e["value"]["image"] for e in entries}
    return {e["key"]["image"] for e in entries}


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def is_conserved(daemon):
    """Possibly not yet, while others' processes allocate."""
    try:
        assert_conserved(daemon.ctl("status"))
    except AssertionError:
        return False
    return True


def come_and_go(workload, number):
    """Short processes that allocate; half of them are killed."""
    pids = set()
    for n in range(number):
        process = workload(LEAK, "--at-once", "--hold", "100", COUNT, SIZE)
        assert process.line()["phase"] == "loaded"
        assert process.line()["phase"] == "allocated"
        pids.add(process.pid)
        if n % 2:
            process.kill()
        else:
            assert process.end() == 0
    return pids


def test_repair_while_processes_come_and_go(daemon, workload):
    known = come_and_go(workload, 2)
    stays = workload(LEAK, "--step", FILLS_THE_RING, SIZE)
    assert stays.line()["phase"] == "loaded"
    ends = workload(LEAK, "--at-once", "--hold", "100", COUNT, SIZE)
    assert ends.line()["phase"] == "loaded" and ends.line()["phase"] == "allocated"
    count_is(daemon, ends.pid, COUNT)

    daemon.process.send_signal(signal.SIGSTOP)
    unseen = come_and_go(workload, SHORT_PROCESSES // 2)
    step_to(stays, "allocated")
    unseen |= come_and_go(workload, SHORT_PROCESSES // 2)
    ends.kill()
    daemon.process.send_signal(signal.SIGCONT)
    during = come_and_go(workload, 10)

    gone = known | unseen | during | {ends.pid}
    wait_until(lambda: not gone & daemon.pids(), "no ended process is shown", patience=5)
    assert lost(daemon, "ring_full") > 0
    count_is(daemon, stays.pid, FILLS_THE_RING)
    wait_until(lambda: all(map(is_alive, daemon.pids())), "whatever is shown runs", patience=5)
    for name in ("live", "stacks"):
        wait_until(
            lambda name=name: images(daemon, name) <= images(daemon, "processes"),
            f"nothing of an ended image is in {name}",
        )
    wait_until(
        lambda: daemon.ctl("status")["tables"]["allocations"]
        == len(kernel.map_entries(daemon.process.pid, "live")),
        "the tables equal the live map",
    )
    wait_until(lambda: is_conserved(daemon), "no allocation is counted twice, or not at all")


MANY_STACKS = """
import ctypes, os, sys
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
runtime.cudaFree(None)
driver = ctypes.CDLL("libcuda.so.1")
ptr = ctypes.c_void_p()

def function(n):
    space = {"call": lambda: runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(4096))}
    exec(f"def path_{n}(): return call()", space)
    return space[f"path_{n}"]

functions = [function(n) for n in range(int(sys.argv[1]))]
print('{"phase": "loaded"}', flush=True)
sys.stdin.readline()
for function in functions:
    driver.simcuda_fail_next(1, 2)
    assert function() == 2
    assert function() == 0
print('{"phase": "allocated"}', flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_stacks_of_an_ended_process(start_daemon, workload, how):
    process = workload("/usr/bin/python3", "-c", MANY_STACKS, STACKS)
    assert process.line()["phase"] == "loaded"
    daemon = start_daemon("--pid", str(process.pid))
    wait_until(lambda: daemon.process_row(process.pid), "it is known")
    step_to(process, "allocated")
    count_is(daemon, process.pid, STACKS)
    sites = daemon.ctl("sites", process.pid, "--limit", "0")["sites"]
    assert {s["python"][1]["function"] for s in sites} == {f"path_{n}" for n in range(STACKS)}
    assert daemon.ctl("status")["calls"]["failed_allocs"] == STACKS
    entries = kernel.map_entries(daemon.process.pid, "stacks")
    assert len({e["formatted"]["key"]["id"] for e in entries}) >= STACKS

    if how == "exit":
        assert process.end() == 0
    else:
        process.kill()
    wait_until(lambda: process.pid not in daemon.pids(), "it is not shown any more")
    wait_until(
        lambda: kernel.map_entries(daemon.process.pid, "stacks") == [], "no stack is left", 5
    )
    assert kernel.map_entries(daemon.process.pid, "live") == []
    assert kernel.map_entries(daemon.process.pid, "python") == []
