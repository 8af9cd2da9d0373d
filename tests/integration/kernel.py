# SPDX-License-Identifier: Apache-2.0
"""What a daemon holds in the kernel, and what the kernel holds at all."""
import json
import pathlib
import subprocess

LAST_IMAGE_AT = 8  # in .bss (bpf/maps.h)


def bpftool(*arguments):
    run = subprocess.run(
        ["bpftool", "-j", *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",  # it names the processes that hold what it shows
        timeout=60,
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
        try:
            lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:  # closed meanwhile
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key in ("prog_id", "map_id", "link_id"):
                held.add((key[:-3], int(value)))
    return held


def other_daemons(pid):
    """Other srtleakd of this host, whose probes sit in the same places."""
    others = []
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text(encoding="utf-8") == "srtleakd\n" and int(comm.parts[2]) != pid:
                others.append(int(comm.parts[2]))
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
    return others


def map_entries(pid, name):
    """The entries of the map of that name that the process holds; without those that go meanwhile."""
    maps = {o["id"]: o.get("name") for o in bpftool("map", "show")}
    (number,) = [i for kind, i in held_by(pid) if kind == "map" and maps.get(i) == name]
    dump = [e for e in bpftool("map", "dump", "id", number) if "formatted" in e]
    # The kernel's walk begins anew where the entry that it stood at is gone.
    return list({json.dumps(e["formatted"]["key"]): e for e in dump}.values())


def set_last_image(pid, number):
    """As if the daemon's probes had numbered so many images."""
    names = {o["id"]: o.get("name") or "" for o in bpftool("map", "show")}
    ours = {i for kind, i in held_by(pid) if kind == "map" and names.get(i, "") == "srtleak_.bss"}
    (bss,) = ours
    (row,) = bpftool("map", "dump", "id", bss)
    (variables,) = [v for v in row["formatted"]["value"][".bss"] if "last_image" in v]
    value = bytearray(int(byte, 16) for byte in row["value"])
    assert value[LAST_IMAGE_AT : LAST_IMAGE_AT + 4] == variables["last_image"].to_bytes(4, "little")
    value[LAST_IMAGE_AT : LAST_IMAGE_AT + 4] = number.to_bytes(4, "little")
    command = ["bpftool", "map", "update", "id", str(bss), "key", "hex", *["00"] * 4, "value", "hex"]
    subprocess.run([*command, *(f"{byte:02x}" for byte in value)], check=True)


def image(daemon, pid):
    """The number of what the process runs, None where that has not called."""
    entries = [e["formatted"] for e in map_entries(daemon, "processes")]
    return next((e["value"]["image"] for e in entries if e["key"] == pid), None)


# enum address_space, of what calls name besides allocations, and flags of such an entry.
SPACE_PHYSICAL = 2
SPACE_POOL, SPACE_CONTEXT, SPACE_PRIMARY, SPACE_CONTEXT_NUMBER, SPACE_POOL_NUMBER, SPACE_STREAM = range(5, 11)
HANDLE_ENDED, HANDLE_ENDING = 16, 32


def handles(pid, space):
    """[(key, value)] of one sort."""
    entries = [e["formatted"] for e in map_entries(pid, "handles")]
    return [(e["key"], e["value"]) for e in entries if e["key"]["space"] == space]


def symbol_offset(library, symbol):
    """Where an exported function is, in memory and (in these libraries) in the file too."""
    nm = subprocess.run(["nm", "-D", str(library)], capture_output=True, text=True, check=True)
    (offset,) = [int(w[0], 16) for w in map(str.split, nm.stdout.splitlines()) if w[-1] == symbol]
    return offset


BREAKPOINT = 0xCC


def file_byte(library, symbol):
    """The first byte of an exported function in the file."""
    with open(library, "rb") as file:
        file.seek(symbol_offset(library, symbol))
        return file.read(1)[0]


def first_byte(pid, library, symbol):
    """The same in a process's memory."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    base = min(int(m.split("-")[0], 16) for m in maps if m.endswith(str(library)))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(base + symbol_offset(library, symbol))
        return memory.read(1)[0]
