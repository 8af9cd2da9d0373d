#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tries srtleak on a real GPU and reports what it finds, in Markdown.

Exit status: 0 reported · 1 reported, and a part failed · 77 cannot be run here: why is told on
stderr in one line. Without means to run BPF programs there is still a report, of what needs none.
"""

import argparse
import datetime
import os
import pathlib
import signal
import sys
import time
import traceback

import host as host_facts
import part_cost
import part_exports
import part_reached
import part_truth
from host import ROOT, Host
from report import LeftOut, table
from worker import progress

CANNOT = 77
ALL_S = 450  # for all that is done; remote machines often cut off after some minutes


class TooLate(Exception):
    pass


class Part:
    """A section of the report; `seconds`: when to give it up."""

    def __init__(self, title, function, *arguments, seconds=60, needs_bpf=True):
        self.title, self.function, self.arguments = title, function, arguments
        self.seconds, self.needs_bpf = seconds, needs_bpf


PARTS = [
    Part("Libraries: what they export, and how it begins", part_exports.looks, needs_bpf=False),
    Part("Libraries: what the daemon makes of them", part_exports.attached),
    Part("Exports reached by a C program", part_reached.by_program),
    Part("Truth: C program", part_truth.of_program),
    Part("Cost: C program", part_cost.of_program),
    Part("Exports reached with the runtime linked in", part_reached.by_static_program),
    Part("Exports reached by PyTorch: native allocator", part_reached.by_torch, "native"),
    Part("Exports reached by PyTorch: expandable segments", part_reached.by_torch, "expandable"),
    Part("Exports reached by PyTorch: cudaMallocAsync", part_reached.by_torch, "async"),
    Part("Truth: PyTorch, native allocator", part_truth.of_torch, "native"),
    Part("Truth: PyTorch, expandable segments", part_truth.of_torch, "expandable"),
    Part("Truth: PyTorch, cudaMallocAsync", part_truth.of_torch, "async"),
    Part("Truth: the daemon restarted while PyTorch runs", part_truth.restarted),
    Part("Cost: PyTorch", part_cost.of_torch),
]


def too_late(*_):
    raise TooLate


def run_part(part, host, no_bpf, until):
    """(state, lines)"""
    left = int(min(part.seconds, until - time.monotonic()))
    if part.needs_bpf and no_bpf:
        return "left out", [f"Left out: no BPF: {no_bpf}", ""]
    if left < 5:
        return "left out", ["Left out: no time was left for it.", ""]
    signal.alarm(left)
    try:
        lines = part.function(host, *part.arguments)
        signal.alarm(0)
        return "done", lines
    except LeftOut as reason:
        return "left out", [f"Left out: {reason}", ""]
    except TooLate:
        return "failed", [f"**Failed**: not done within {left} s", ""]
    except Exception as error:  # pylint: disable=broad-except
        print(traceback.format_exc(), file=sys.stderr)
        return "failed", [f"**Failed**: {type(error).__name__}: {error}", ""]
    finally:
        signal.alarm(0)


def host_section(host, checks):
    marks = [(c["name"], c["result"], c["detail"]) for c in checks]
    return [
        *table(["", ""], host.versions()),
        "`srtleakctl doctor`:",
        "",
        *table(["check", "result", "detail"], marks),
    ]


def source():
    version = (ROOT / "include" / "version.h").read_text(encoding="utf-8").split('"')[1]
    commit = host_facts.output_of("git", "-C", ROOT, "rev-parse", "--short", "HEAD")
    return f"srtleak {version}" + (f", commit {commit}" if commit else "")


def report(host, checks, no_bpf, parts, until):
    signal.signal(signal.SIGALRM, too_late)
    sections, states = [], []
    for part in parts:
        progress(part.title)
        begin = time.monotonic()
        state, lines = run_part(part, host, no_bpf, until)
        states.append((part.title, state, f"{time.monotonic() - begin:.0f}"))
        sections += [f"## {part.title}", "", *lines]
    text = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        f"# srtleak on {host.title()}",
        "",
        f"{datetime.date.today().isoformat()}, {source()}; written by `tests/gpu/run.py`.",
        "",
        *table(["part", "state", "seconds"], states),
        "## Host",
        "",
        *host_section(host, checks),
        *sections,
    ]
    return "\n".join(text).rstrip() + "\n", any(state == "failed" for _, state, _ in states)


def look_for_bpf(host):
    """What doctor finds, and why nothing can be probed, or None."""
    if os.geteuid() != 0:
        return [], "needs root"
    fault = host_facts.build()
    if fault:
        return [], f"not built: {fault}"
    checks = host_facts.doctor()
    host.multi = any(c["name"] == "uprobe_multi" and c["result"] == "ok" for c in checks)
    return checks, host_facts.bpf_fault(checks)


def refuse(reason):
    print(f"gpu: cannot be run here: {reason}", file=sys.stderr)
    return CANNOT


def main():
    parser = argparse.ArgumentParser(
        description="Tries srtleak on a real GPU and reports what it finds, in Markdown.",
        epilog="Exit status: 0 reported; 1 a part failed; 77 cannot be run here.",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, help="where the report goes (default stdout)"
    )
    parser.add_argument(
        "--libraries", help="directory of simulated CUDA libraries, for want of a GPU"
    )
    parser.add_argument("--only", default="", help="a part of the titles of the parts to run")
    options = parser.parse_args()

    begin = time.monotonic()
    host = Host(options.libraries)
    if not host.driver:
        return refuse(f"no GPU: {host.driver_error}")
    checks, no_bpf = look_for_bpf(host)
    parts = [part for part in PARTS if options.only.lower() in part.title.lower()]
    text, failed = report(host, checks, no_bpf, parts, begin + ALL_S)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    if no_bpf:
        return refuse(f"no BPF: {no_bpf}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
