# SPDX-License-Identifier: Apache-2.0
"""tests/gpu/run.py on the simulated CUDA libraries, and where it cannot run."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import ROOT, SIM, can_trace, need

SCRIPT = ROOT / "tests" / "gpu" / "run.py"
CANNOT = 77
NO_BPF = ["setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin"]
# Kinds that are tracked since the first release.
TRACKED = {"device", "managed", "host", "ipc", "graph"}

# Functions that begin in each way that matters, as a libcudart may.
ODD = {
    "cudaMalloc": "sub $8, %rsp",
    "cudaFree": "endbr64; push %rax",
    "cudaMallocManaged": "endbr64; sub $8, %rsp",
    "cudaMallocHost": "nop",
    "cudaFreeHost": "push %r15",
    "cudaHostRegister": "cmpl $5, 64(%rip)",
    "cudaMallocNeverSeen": "push %rax",
}
ODD_ALIAS = "cudaHostAlloc", "cudaMallocHost"


def odd_source():
    lines = []
    for name, instructions in ODD.items():
        lines += [f".globl {name}", f".type {name}, @function", ".balign 16", f"{name}:"]
        lines += [instructions, "ret"]
    other, name = ODD_ALIAS
    lines += [f".globl {other}", f".type {other}, @function", f".set {other}, {name}", ""]
    return "\n".join(lines)


def run(*options, wrapper=(), **environment):
    return subprocess.run(
        [*wrapper, "/usr/bin/python3", str(SCRIPT), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "SIMCUDA_INIT_MS": "1", **environment},
        check=False,
    )


def sections(report):
    """{title: text}"""
    parts = re.split(r"^## (.*)\n", report, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def rows(text):
    """Cells of all lines of tables."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    need(can_trace(), "root and a kernel with BTF, to load BPF programs")
    path = tmp_path_factory.mktemp("gpu") / "docs" / "report.md"
    ran = run("--libraries", SIM, "--output", path)
    assert ran.returncode == 0, ran.stderr
    return path.read_text(encoding="utf-8")


def test_report_is_complete_and_says_that_it_is_simulated(report):
    first = sections(report)[""]
    assert re.search(r"^# .*simulated", first, re.MULTILINE)
    states = {row[0]: row[1] for row in rows(first)[1:]}
    left_out = {title for title, state in states.items() if state != "done"} - {"---"}
    assert left_out == {"Exports reached with the runtime linked in"}  # needs NVIDIA's driver
    assert set(states) - {"---"} <= set(sections(report))


def test_calls_of_the_runtime_reach_the_driver(report):
    text = sections(report)["Exports reached by a C program"]
    seen = {(row[0], row[1]): row[2] for row in rows(text) if len(row) == 4}
    assert seen["`cudaMalloc`", "`cuMemAlloc_v2`"] == "yes"
    assert seen["`cudaSetDevice`", "`cuDevicePrimaryCtxRetain`"] == "yes"
    assert seen["`cuMemAllocPitch_v2`", "`cuMemAlloc_v2`"] == "**no**"
    assert "| `cudaMallocPitch` | 1 | ok | cuCtxGetCurrent, cuMemAllocPitch_v2 |" in text
    assert "lost" not in text


def test_calls_of_pytorch(report):
    text = sections(report)["Exports reached by PyTorch: expandable segments"]
    assert "cuMemCreate, cuMemMap, cuMemRelease" in text
    text = sections(report)["Exports reached by PyTorch: native allocator"]
    assert re.search(r"empty_cache` \| 1 \| ok \| cudaFree \(.*cuMemFree_v2\) ×\d", text)


@pytest.mark.parametrize(
    "who", ["C program", "PyTorch, native allocator", "PyTorch, cudaMallocAsync"]
)
def test_daemon_agrees_with_the_program(report, who):
    table = {row[0]: row[1:] for row in rows(sections(report)[f"Truth: {who}"]) if len(row) == 8}
    kinds = TRACKED & set(table)
    assert len(kinds) >= 2
    for kind in kinds:
        told, shown, missing, wrong, extra, *sums = table[kind]
        assert told == shown != "0" and sums[0] == sums[1], table
        assert missing == wrong == extra == "0", table


def test_restart(report):
    text = sections(report)["Truth: the daemon restarted while PyTorch runs"]
    assert "ended with status 0" in text and "**Equal**" in text


def test_cost(report):
    pairs = rows(sections(report)["Cost: C program"])[2:]
    assert len(pairs) > 10
    # Which of them is more says nothing beside other tests.
    alone, probed = (float(pairs[0][i].replace(",", "")) for i in (1, 2))
    assert pairs[0][0] == "`cudaMalloc` + `cudaFree`" and probed > 0 < alone
    assert len(rows(sections(report)["Cost: PyTorch"])) == 4


def test_no_gpu():
    ran = run(CUDA_VISIBLE_DEVICES="")
    assert ran.returncode == CANNOT and ran.stdout == ""
    assert re.fullmatch(r"gpu: cannot be run here: no GPU: .+\n", ran.stderr)


def test_no_bpf():
    need(os.geteuid() == 0 and shutil.which("setpriv"), "root, to give up its capabilities")
    ran = run("--libraries", SIM, wrapper=NO_BPF)
    assert ran.returncode == CANNOT
    assert re.search(r"^gpu: cannot be run here: no BPF: .+\n\Z", ran.stderr, re.MULTILINE)
    found = sections(ran.stdout)
    assert "`push %rbp`" in found["Libraries: what they export, and how it begins"]
    assert "Left out: no BPF" in found["Truth: C program"]


def test_part_that_fails_does_not_stop_the_others(tmp_path):
    need(can_trace(), "root and a kernel with BTF, to load BPF programs")
    directory = tmp_path / "broken"
    shutil.copytree(SIM, directory)
    (directory / "libcudart.so.12").write_text("no library")
    ran = run("--libraries", directory, "--only", "libraries")
    assert ran.returncode == 1
    looks, attached = list(sections(ran.stdout).values())[-2:]
    assert "**Failed**: ValueError" in looks and "not a 64-bit ELF file" in looks
    assert "libcudart.so.13" in attached and "as here" in attached


@pytest.fixture
def odd(tmp_path):
    """The simulated libraries, one runtime of them with odd beginnings."""
    directory = tmp_path / "odd"
    shutil.copytree(SIM, directory)
    source = tmp_path / "odd.s"
    source.write_text(odd_source())
    command = ["gcc", "-shared", "-nostdlib", "-o", directory / "libcudart.so.12", source]
    subprocess.run(command, check=True, timeout=60)
    return directory


def test_first_instructions(odd):
    need(can_trace(), "root and a kernel with BTF, to load BPF programs")
    ran = run("--libraries", odd, "--only", "libraries")
    assert ran.returncode == 0, ran.stderr
    looks, attached = list(sections(ran.stdout).values())[-2:]
    text = next(t for t in looks.split("### ") if t.startswith(f"{odd}/libcudart.so.12"))
    how = {name: row[0] for row in rows(text) for name in re.findall("`(cuda.*?)`", row[2])}
    assert how["cudaMalloc"] == how["cudaMallocManaged"] == "**single-stepped**"
    assert how["cudaHostRegister"] == "**single-stepped**"
    assert how["cudaMallocHost"] == how["cudaFreeHost"] == "cheap"
    assert how["cudaFree"] == "cheap (behind 4 bytes)"
    assert "`cudaHostAlloc` = `cudaMallocHost`" in text
    assert "have no row: `cudaMallocNeverSeen`" in text
    row = next(r for r in rows(attached) if "libcudart.so.12" in r[0])
    assert "`cudaMalloc`" in row[4] and row[5] == "as here"
