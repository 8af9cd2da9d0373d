# SPDX-License-Identifier: Apache-2.0
"""Native stacks: names where a program has them, module and offset where it has none."""
import re
import shutil
import subprocess

from conftest import LEAK, need, wait_until

CHAIN = ["grow_workspace", "prepare_context", "handle_request", "handle_requests"]


def sites_of(daemon, start, program, *options):
    leak = start(program, "--step", *options, "3", "4096")
    leak.line()
    leak.step()
    assert leak.line()["phase"] == "allocated"
    wait_until(lambda: len(daemon.allocs(leak.pid)) >= 3, "three allocations")
    return daemon.ctl("sites", leak.pid, "--limit", "0")["sites"]


def functions(binary):
    """{name: (first, last) offset in the file} of a program's functions."""
    loads = subprocess.run(
        ["readelf", "-lW", binary], capture_output=True, text=True, check=True
    ).stdout
    segments = [
        [int(n, 16) for n in m.groups()]
        for m in re.finditer(r"LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+)", loads)
    ]
    symbols = subprocess.run(["nm", "-S", binary], capture_output=True, text=True, check=True)
    found = {}
    for line in symbols.stdout.splitlines():
        fields = line.split()
        if len(fields) != 4 or fields[2] not in "tT":
            continue
        address, size = int(fields[0], 16), int(fields[1], 16)
        for offset, virtual, length in segments:
            if virtual <= address < virtual + length:
                start = address - virtual + offset
                found[fields[3]] = (start, start + size)
    return found


def test_the_chain_is_shown_by_name_and_in_order(daemon, workload):
    (site,) = sites_of(daemon, workload, LEAK)
    assert site["count"] == 3 and site["python"] == []
    names = [frame["symbol"] for frame in site["native"]]
    assert names[: len(CHAIN)] == CHAIN
    assert "main" in names[len(CHAIN) :]
    assert {frame["module"] for frame in site["native"][: len(CHAIN)]} == {"leak"}
    assert [f["module"] for f in site["native"] if "libc.so" in f["module"]], "up to libc's start"
    assert site["caller"] == {"module": "leak", "symbol": CHAIN[0]}
    assert not site["truncated"]


def test_offsets_are_inside_of_the_functions(daemon, workload):
    (site,) = sites_of(daemon, workload, LEAK)
    ranges = functions(LEAK)
    for frame in site["native"][: len(CHAIN)]:
        first, last = ranges[frame["symbol"]]
        assert 0 < frame["offset"] <= last - first, frame


def test_a_stripped_program_shows_module_and_offset(daemon, workload, tmp_path):
    need(shutil.which("strip"), "strip of binutils")
    stripped = tmp_path / "without_names"
    subprocess.run(["strip", "--strip-all", "-o", stripped, LEAK], check=True)
    (site,) = sites_of(daemon, workload, stripped)
    ranges = functions(LEAK)
    for name, frame in zip(CHAIN, site["native"]):
        first, last = ranges[name]
        assert frame["module"] == "without_names" and frame["symbol"] is None
        assert first < frame["offset"] <= last, (name, frame)


def test_a_thread_has_its_own_stack(daemon, workload):
    (site,) = sites_of(daemon, workload, LEAK, "--threads", "1")
    names = [frame["symbol"] for frame in site["native"]]
    assert names[: len(CHAIN)] == CHAIN and "main" not in names


def test_a_replaced_library_file_gives_no_wrong_names(daemon, workload, tmp_path):
    """The file under a running program's name is another one by now."""
    program = tmp_path / "replaced"
    shutil.copy2(LEAK, program)
    leak = workload(program, "--step", "3", "4096")
    leak.line()
    program.unlink()
    shutil.copy2("/bin/true", program)
    leak.step()
    assert leak.line()["phase"] == "allocated"
    wait_until(lambda: len(daemon.allocs(leak.pid)) >= 3, "three allocations")
    (site,) = daemon.ctl("sites", leak.pid)["sites"]
    names = [frame["symbol"] for frame in site["native"][: len(CHAIN)]]
    assert names in (CHAIN, [None] * len(CHAIN))


def test_sites_of_one_program_are_equal_in_each_run(daemon, workload):
    (one,) = sites_of(daemon, workload, LEAK)
    (two,) = sites_of(daemon, workload, LEAK)
    assert one["id"] == two["id"]
