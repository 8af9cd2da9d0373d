# SPDX-License-Identifier: Apache-2.0
"""What a daemon holds in the kernel, and what the kernel holds at all."""
import json
import pathlib
import subprocess


def bpftool(*arguments):
    run = subprocess.run(
        ["bpftool", "-j", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout or "[]")


def objects():
    """Every program, map and link of this host, as (kind, id)."""
    return {(kind, o["id"]) for kind in ("prog", "map", "link") for o in bpftool(kind, "show")}


def held_by(pid):
    """The same of one process, by its descriptors: {(kind, id)}."""
    held = set()
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key in ("prog_id", "map_id", "link_id"):
                held.add((key[:-3], int(value)))
    return held


def map_entries(pid, name):
    """The entries of the map of that name that the process holds."""
    maps = {o["id"]: o.get("name") for o in bpftool("map", "show")}
    (number,) = [i for kind, i in held_by(pid) if kind == "map" and maps.get(i) == name]
    return bpftool("map", "dump", "id", number)


def first_byte(pid, library, symbol):
    """The first byte of an exported function in a process's memory: 0xcc where it is probed."""
    nm = subprocess.run(["nm", "-D", str(library)], capture_output=True, text=True, check=True)
    (offset,) = [int(w[0], 16) for w in map(str.split, nm.stdout.splitlines()) if w[-1] == symbol]
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    base = min(int(m.split("-")[0], 16) for m in maps if m.endswith(pathlib.Path(library).name))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(base + offset)
        return memory.read(1)[0]
