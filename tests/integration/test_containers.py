# SPDX-License-Identifier: Apache-2.0
"""Processes in namespaces, roots and cgroups of their own."""
import os
import re
import shlex
import urllib.request

import pytest
from churn import Churn, assert_conserved, assert_equal_to_ledger
from conftest import LEAK, SIM, count_is, need, step_to, wait_until
from container import CUDA, Cgroup, Container, can_contain, cgroup_root
from test_odd_libraries import binaries, can_overlay

COUNT = 20
SIZE = 4096
ID = "3f1c7a9be0d2" + "5" * 52
UID = "8a1b9c7e-0d2f-4c53-9b61-7f2e1d3c4b5a"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
IN_KUBERNETES = f"kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope"
ROUNDS = 3
CALLS = 1000  # of each thread
COPY = f"mount -t tmpfs tmpfs $R{CUDA}; cp {shlex.quote(str(SIM))}/*.so.* $R{CUDA}\n"


@pytest.fixture
def make_cgroup():
    made = []

    def make(path, controller=None):
        made.append(Cgroup(f"srtleak-test-{os.getpid()}-{len(made)}", path, controller))
        return made[-1]

    yield make
    for cgroup in made:
        cgroup.remove()


@pytest.fixture
def make_container(workload, tmp_path):
    """Starts a process in a container; the ledger may be anywhere in tmp_path."""
    need(can_contain(), "the right to make user, PID, mount and cgroup namespaces")
    made = []

    def start(*arguments, cgroups=(), prepare=COPY, **environment):
        directory = tmp_path / f"container{len(made)}"
        made.append(Container(directory, tmp_path, cgroups, prepare))
        return made[-1].start(workload, *arguments, **environment)

    return start


def wait_for_probes(daemon):
    """In a container's runtime, which loads the driver later: until then calls would be missed."""
    runtime = f"{CUDA}/libcudart.so.13"
    wait_until(lambda: runtime in binaries(daemon), "its runtime is probed")


def metrics(daemon, name, pid):
    url = f"http://127.0.0.1:{daemon.port}/metrics"
    text = urllib.request.urlopen(url, timeout=20).read().decode()
    line = next(li for li in text.splitlines() if li.startswith(f'{name}{{pid="{pid}"'))
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


@pytest.mark.parametrize("attach", ["multi", "perf"])
def test_container_is_found_and_probed_through_its_root(
    start_daemon, make_cgroup, make_container, workload, tmp_path, attach
):
    daemon = start_daemon("--attach", attach, libraries=())
    ledger = tmp_path / "ledger"
    leak = [LEAK, "--step", "--then-free", "--ledger", ledger, COUNT, SIZE]
    process = make_container(*leak, cgroups=[make_cgroup(IN_KUBERNETES)])
    assert process.line()["phase"] == "loaded"
    assert not os.path.exists(CUDA), "outside there are no such libraries"
    row = wait_until(lambda: daemon.process_row(process.pid), "it is known")
    wait_for_probes(daemon)
    assert (row["inner_pid"], row["container"], row["pod"]) == (1, ID, UID)
    assert row["cgroup"].endswith(IN_KUBERNETES) and row["uid"] == os.getuid()
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert_equal_to_ledger(daemon, process.pid, ledger)
    assert {a["api"] for a in daemon.allocs(process.pid)} == {"cudaMalloc"}
    sites = daemon.ctl("sites", process.pid)["sites"]
    assert any(f["symbol"] == "main" for f in sites[0]["native"]), "its symbols are found too"
    info = metrics(daemon, "srtleak_process_info", process.pid)
    assert (info["container"], info["pod_uid"]) == (ID, UID)
    assert metrics(daemon, "srtleak_outstanding_bytes", process.pid)["container"] == ID

    outside = workload(LEAK, "--hold", "60", COUNT, SIZE)
    count_is(daemon, outside.pid, COUNT)
    assert daemon.process_row(outside.pid)["inner_pid"] is None
    heading, *rows = daemon.run("ps").stdout.splitlines()
    assert heading.split()[:2] == ["PID", "INNER"] and "CONTAINER" in heading
    shown = {int(r.split()[0]): r.split()[1] for r in rows}
    assert (shown[process.pid], shown[outside.pid]) == ("1", "-")
    assert ID[:11] in next(r for r in rows if r.split()[0] == str(process.pid))

    step_to(process, "freed")
    count_is(daemon, process.pid, 0)


def test_runtime_that_keeps_to_the_older_hierarchies(daemon, make_cgroup, make_container):
    """On a host with both, it leaves its containers in its own cgroup of the unified one."""
    if not cgroup_root("pids"):
        pytest.skip("the host has the unified hierarchy only")
    cgroups = [make_cgroup("system.slice/containerd.service/of-a-long-name" + "-" * 80)]
    cgroups.append(make_cgroup(f"docker/{ID}", "pids"))
    process = make_container(LEAK, "--step", COUNT, SIZE, cgroups=cgroups)
    row = wait_until(lambda: daemon.process_row(process.pid), "it is known")
    assert (row["container"], row["pod"]) == (ID, None)
    assert row["cgroup"].endswith(f"/docker/{ID}")


def share_lower(lower, inodes, number, directory):
    """One file to both containers, or each of them its own overlay of it."""
    if inodes == "one":
        return f"mount --bind {shlex.quote(str(lower))} $R{CUDA}\n"
    empty = directory / f"empty{number}"
    empty.mkdir()
    layers = shlex.quote(f"lowerdir={lower}:{empty}")
    return f"mount -t overlay overlay -o {layers} $R{CUDA}\n"


@pytest.mark.parametrize("inodes", ["one", "two"])
@pytest.mark.parametrize("first", ["daemon", "containers"])
def test_library_of_two_containers_counts_once(
    start_daemon, make_container, private_libraries, tmp_path, inodes, first
):
    need(can_overlay(tmp_path), "the right to mount overlays")
    lower = private_libraries("lower")
    churns = []
    # --pid needs the processes: a daemon that is to be first tracks whoever uses these libraries
    daemon = start_daemon(libraries=()) if first == "daemon" else None
    for number in range(2):
        directory = tmp_path / f"ledgers{number}"
        directory.mkdir()
        prepare = share_lower(lower, inodes, number, tmp_path)

        def workload(*arguments, **environment):
            return make_container(*arguments, prepare=prepare, **environment)

        churns.append(Churn(workload, directory, calls=CALLS))
        churns[-1].pid = churns[-1].workload.pid
    if not daemon:
        pids = [option for churn in churns for option in ("--pid", str(churn.pid))]
        daemon = start_daemon(*pids, libraries=())
    wait_until(lambda: {c.pid for c in churns} <= daemon.pids(), "both are known")

    for _ in range(ROUNDS):
        for churn in churns:
            churn.start_round()
        for churn in churns:
            churn.end_round()
        for churn in churns:
            assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    if first == "daemon":
        return
    calls = daemon.ctl("status")["calls"]
    assert calls["allocs_seen"] == sum(churn.sums("ALLOC")[0] for churn in churns)
    freed = sum(churn.sums("FREE")[0] + churn.ended() for churn in churns)
    assert calls["frees_matched"] + calls["ended"] == freed
    assert calls["frees_unknown"] == calls["superseded"] == 0
    lost = daemon.ctl("status")["events"]["lost"]
    assert lost["lost_return"] == lost["return_without_entry"] == 0
    assert_conserved(daemon.ctl("status"))


# Which GPU an ordinal stands for.

MODEL, OTHER_MODEL = "NVIDIA H100 80GB HBM3", "NVIDIA T4"
REST = "-d72c-4106-c12f-20bd9faed9f6"
UUIDS = [f"GPU-{first}{REST}" for first in ("8932f937", "1111aaaa", "2222bbbb")]
BUSES = ["0000:1a:00.0", "0000:3b:00.0", "0000:b1:00.0"]
MIG = "MIG-5c9d2f11-0b6e-5a43-8f70-6f1f6a2a9d04"
ALL = list(zip(range(3), UUIDS))
UNKNOWN = [(n, None) for n in range(3)]

# What a runtime mounts over the driver's folder, with what a hostile one might add.
HOSTILE = """mkfifo {gpus}/fifo; mkdir -p {gpus}/0000:01:00.0 {gpus}/0000:02:00.0 {gpus}/no-bus
mkfifo {gpus}/0000:01:00.0/information
ln -s /proc/1/root/etc/hostname {gpus}/0000:02:00.0/information
ln -s ../../../../../../../etc {gpus}/0000:03:00.0
"""


def install_gpus(models=(MODEL,) * 3, nodes=(0, 1, 2), instances=False):
    """Shell text for a driver with three boards, the last one first."""
    driver, lines = "$R/proc/driver/nvidia", []
    for minor in (2, 1, 0):
        folder = f"{driver}/gpus/{BUSES[minor]}"
        lines += [f"mkdir -p {folder}", f"cat > {folder}/information <<END"]
        lines += [f"Model: \t\t {models[minor]}", "IRQ:   \t\t 30"]
        lines += [f"GPU UUID: \t {UUIDS[minor]}", "Video BIOS: \t 96.00.99.00.01"]
        lines += [f"Bus Location: \t {BUSES[minor]}", f"Device Minor: \t {minor}"]
        lines += ["GPU Excluded:\t No", "END"]
    lines += [f"touch $R/dev/nvidia{minor}" for minor in nodes]
    if instances:
        lines.append(f"mkdir -p {driver}/capabilities/gpu0/mig/gi1/ci0")
    text = "\n".join(lines)
    return f"mount -t tmpfs tmpfs $R/proc/driver\n{text}\n{HOSTILE.format(gpus=driver + '/gpus')}"


# Changes its environment, loads CUDA, waits and allocates twice.
PROGRAM = """
import ctypes, json, os, sys
if "set" in sys.argv:
    os.environ["CUDA_VISIBLE_DEVICES"] = "2"
if "title" in sys.argv: # as setproctitle does: a title takes the room of the environment
    for name, value in list(os.environ.items()):
        os.environ[name] = value
    start, end = map(int, open("/proc/self/stat").read().rsplit(")", 1)[1].split()[47:49])
    assert b"CUDA_VISIBLE_DEVICES" in ctypes.string_at(start, end - start)
    ctypes.memset(start, 0, end - start)
    assert not open("/proc/self/environ", "rb").read().strip(bytes(1))
runtime = ctypes.CDLL(os.environ["SIMCUDA_DIR"] + "/libcudart.so.13")
print(json.dumps({"phase": "loaded"}), flush=True)
sys.stdin.readline()
for _ in range(2):
    assert runtime.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(4096)) == 0
print(json.dumps({"phase": "allocated"}), flush=True)
sys.stdin.readline()
os.environ["CUDA_VISIBLE_DEVICES"] = "0" # for its children
print(json.dumps({"phase": "changed"}), flush=True)
sys.stdin.readline()
"""
PYTHON = ("/usr/bin/python3.11", "-c", PROGRAM)
IN_C = (LEAK, "--step", "2", SIZE)
BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def visible(value, **more):
    return {"CUDA_VISIBLE_DEVICES": value, **more}


def allocate_two(daemon, process):
    assert process.line()["phase"] == "loaded"
    wait_for_probes(daemon)
    row = wait_until(lambda: daemon.process_row(process.pid), "it is known")
    assert row["gpus"] is None, "it could still change its environment"
    step_to(process, "allocated")
    count_is(daemon, process.pid, 2)


@pytest.mark.parametrize(
    "program, environment, gpus, expected",
    [
        (PYTHON, {}, {}, ALL),
        (IN_C, visible("2,0"), {}, [(0, UUIDS[2]), (1, UUIDS[0])]),
        (IN_C, visible("GPU-2222,GPU-8"), {}, [(0, UUIDS[2]), (1, UUIDS[0])]),
        (PYTHON, visible("0,0"), {}, []),
        (PYTHON, {}, {"models": (MODEL, OTHER_MODEL, MODEL)}, UNKNOWN),
        (PYTHON, BY_BUS, {"models": (MODEL, OTHER_MODEL, MODEL)}, ALL),
        ((*PYTHON, "set"), visible("0"), {}, [(0, UUIDS[2])]),
        ((*PYTHON, "title"), visible("1"), {}, [(0, UUIDS[1])]),
        # all are in /proc, and the container has the nodes of two devices
        (PYTHON, visible("1"), {"nodes": (0, 2)}, [(0, UUIDS[2])]),
        (PYTHON, visible("0"), {"nodes": ()}, None),
        (PYTHON, visible("0"), {"instances": True}, None),
        (PYTHON, visible(MIG), {"instances": True}, [(0, MIG)]),
        (PYTHON, visible("0", SLURM_JOB_ID="7"), {}, None),
        (PYTHON, visible(UUIDS[1], SLURM_JOB_ID="7"), {}, [(0, UUIDS[1])]),
    ],
)
def test_gpus_of_a_container(start_daemon, make_container, program, environment, gpus, expected):
    daemon = start_daemon(libraries=())
    process = make_container(*program, prepare=COPY + install_gpus(**gpus), **environment)
    allocate_two(daemon, process)
    found = daemon.process_row(process.pid)["gpus"]
    assert (found and [(g["ordinal"], g["uuid"]) for g in found]) == expected
    uuids = dict(expected or [])
    allocations = daemon.allocs(process.pid)
    sites = daemon.ctl("sites", process.pid)["sites"]
    assert allocations and sites
    for one in allocations + sites:
        assert one["gpu_uuid"] == uuids.get(one["device"]), one


def test_environment_that_is_changed_later(start_daemon, make_container):
    """When CUDA has been started in it what a process makes of the variable is settled."""
    daemon = start_daemon(libraries=())
    process = make_container(*PYTHON, prepare=COPY + install_gpus(), **visible("2"))
    assert process.line()["phase"] == "loaded"
    wait_for_probes(daemon)
    step_to(process, "allocated")
    # Nobody asks for the process until then.
    wait_until(lambda: daemon.ctl("status")["events"]["received"] >= 3, "its calls are known")
    step_to(process, "changed")
    assert [g["uuid"] for g in daemon.process_row(process.pid)["gpus"]] == [UUIDS[2]]


def test_gpus_without_a_driver(daemon, make_container):
    process = make_container(*PYTHON)
    allocate_two(daemon, process)
    assert daemon.process_row(process.pid)["gpus"] is None
