# SPDX-License-Identifier: Apache-2.0
"""What the libraries on this host export, against the table of probed functions."""

import collections
import re

import exports
from host import ROOT
from report import code, table
from worker import Daemon

# Functions whose name says that they may take or give back memory.
LOOKS = re.compile(
    r"^cu(da)?("
    r"Mem(Alloc|Free|Create|Release|Map|Unmap|Retain|Import|Host|Pool(Create|Destroy|Trim|Import))|"
    r"(Malloc|Free|Host(Alloc|Free|Register|Unregister))|"
    r"(Array|Mipmapped|Multicast|Ipc(Open|Close)Mem|(Import|Destroy)ExternalMemory)|"
    r"ExternalMemoryGetMapped|"
    r"(Graph(Instantiate|ExecDestroy|AddMem(Alloc|Free))|DeviceGraphMemTrim)|"
    r"((Green)?Ctx(Create|Destroy)|DevicePrimaryCtx|DeviceReset)"
    r")"
)
# Of those the ones that only ask or set something.
ASKS = re.compile(r"Get(?!Mapped)|SetFlags")


def looks_allocating(name):
    return bool(LOOKS.match(name)) and not ASKS.search(name)


def rows():
    """The probed functions: symbols of the table in include/api.h."""
    text = (ROOT / "include" / "api.h").read_text(encoding="utf-8")
    return re.findall(r"^\tX\((cu\w+),", text, re.MULTILINE)


def of_runtime(name):
    return name.startswith("cuda")


def beginnings(library):
    """How all functions begin: commonest first."""
    text = exports.instructions(e.code for e in library.exports)
    count, example, cheap = collections.Counter(), {}, collections.Counter()
    for export in library.exports:
        shape = exports.shape(text[export.code])
        count[shape] += 1
        cheap[shape] += exports.is_emulated(export.code)
        example.setdefault(shape, export)
    lines = [
        (
            f"`{shape}`",
            n,
            f"{cheap[shape]} of {n}",
            f"`{example[shape].name}`",
            f"`{example[shape].code.hex(' ')}`",
        )
        for shape, n in count.most_common(12)
    ]
    return table(["first instruction", "exports", "cheap to probe", "for example", "bytes"], lines)


def row_beginnings(library, table_rows):
    """The probed ones, by how they begin."""
    probed = [e for e in library.exports if e.name in table_rows]
    text = exports.instructions(e.code for e in probed)
    groups = collections.defaultdict(list)
    for export in probed:
        behind = exports.skipped(export.code)
        how = "cheap" if exports.is_emulated(export.code) else "**single-stepped**"
        note = f" (behind {behind} bytes)" if behind else ""
        groups[how + note, exports.shape(text[export.code])].append(export.name)
    lines = [(how, f"`{shape}`", code(names, 100)) for (how, shape), names in groups.items()]
    return table(["probe", "first instruction", "functions of the table"], lines)


def aliases(library, table_rows):
    """Names that are one function, where memory is concerned."""
    groups = [names for names in library.by_address().values() if len(names) > 1]
    of_interest = [g for g in groups if any(n in table_rows or looks_allocating(n) for n in g)]
    return groups, [" = ".join(f"`{n}`" for n in group) for group in of_interest]


def describe(path):
    library, table_rows = exports.Library(path), set(rows())
    names = {e.name for e in library.exports}
    if not names:
        return [f"### {path}", "", "exports no function of CUDA", ""]
    family = [r for r in rows() if of_runtime(r) == ("libcudart" in path)]
    groups, same = aliases(library, table_rows)
    without = sorted(n for n in names - table_rows if looks_allocating(n))
    return [
        f"### {path}",
        "",
        f"- {len(names)} functions at {len(library.by_address())} addresses"
        f" ({len(groups)} addresses have several names)",
        f"- {len(names & table_rows)} of {len(family)} rows of the table are exported;"
        f" missing: {code(r for r in family if r not in names)}",
        f"- {len(without)} functions look as if they took or gave back memory and have no row:"
        f" {code(without, 100)}",
        f"- names of one function: {', '.join(same) or 'none of interest'}",
        "",
        *row_beginnings(library, table_rows),
        "All exports:",
        "",
        *beginnings(library),
    ]


def daemon_view(paths):
    """What the daemon makes of the same files."""
    with Daemon([1], paths) as daemon:
        probes = [p for p in daemon.ctl("status")["probes"] if p["binary"] in paths]
    lines = []
    for probe in probes:
        library = exports.Library(probe["binary"])
        slow = {e.name for e in library.exports if not exports.is_emulated(e.code)}
        told = {s if isinstance(s, str) else s["symbol"] for s in probe["slow"]}
        skipped = [s["symbol"] for s in probe["skipped"]]
        agrees = told == slow & set(rows()) - set(skipped)
        lines.append(
            (
                f"`{probe['binary']}`",
                probe["attached"],
                code(probe["missing"]),
                code(skipped),
                code(sorted(told)),
                "as here" if agrees else "**other than here**",
            )
        )
    return table(["library", "attached", "missing", "skipped", "slow", "slow ones are"], lines)


def looks(host):
    lines = []
    for path in [*host.libraries(), *host.further_libraries()]:
        lines += describe(path)
    return lines


def attached(host):
    return daemon_view(host.libraries())
