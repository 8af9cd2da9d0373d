# SPDX-License-Identifier: Apache-2.0
"""The daemon's tables against what programs know that they hold, entry by entry."""

import collections
import signal
import time

from host import output_of
from report import LeftOut, size, table
from worker import Daemon, Pins, kept, program, torch_program

SETTLE_S = 5
ROUND = 2 << 20  # what the driver hands out at least
SHOWN = 12
ON_DEVICE = ("device", "managed", "array", "vmm")


def key(entry):
    return entry["kind"], entry.get("handle") or entry["ptr"]


class Comparison:
    """Of entries that a program told with those of the daemon."""

    def __init__(self, told, shown):
        self.told, self.shown = told, shown
        ranges = [t for t in told if t.get("range")]
        counted = [t for t in told if not t.get("range") and key(t)[1] is None]
        self.exact = [t for t in told if t not in ranges and t not in counted]
        left = list(shown)
        self.wrong, self.missing = [], []
        for entry in self.exact:
            found = next((s for s in left if key(s) == key(entry)), None)
            if found is None:
                self.missing.append(entry)
                continue
            left.remove(found)
            if entry["size"] is not None and found["size"] != entry["size"]:
                self.wrong.append((entry, found))
        left = self._sum_up(ranges, left)
        left = self._count(counted, left)
        self.extra = left

    def _sum_up(self, ranges, left):
        """Ranges of addresses: what lies in one must add up to its size."""
        for entry in ranges:
            begin = int(entry["ptr"], 16)
            inside = [
                s
                for s in left
                if s["kind"] == entry["kind"]
                and s["ptr"]
                and begin <= int(s["ptr"], 16) < begin + entry["size"]
            ]
            found = sum(s["size"] for s in inside)
            if found != entry["size"]:
                self.missing.append({**entry, "size": entry["size"] - found})
            left = [s for s in left if s not in inside]
        return left

    def _count(self, counted, left):
        """Of some things the program knows only that they are there."""
        for entry in counted:
            found = next((s for s in left if s["kind"] == entry["kind"]), None)
            if found is None:
                self.missing.append(entry)
            else:
                left.remove(found)
        return left

    def equal(self):
        return not (self.missing or self.wrong or self.extra)

    def lines(self):
        kinds = sorted({e["kind"] for e in [*self.told, *self.shown]})
        count = {
            name: collections.Counter(e["kind"] for e in entries)
            for name, entries in (
                ("told", self.told),
                ("shown", self.shown),
                ("missing", self.missing),
                ("wrong", [t for t, _ in self.wrong]),
                ("extra", self.extra),
            )
        }
        rows = [
            (
                k,
                *(count[n][k] for n in ("told", "shown", "missing", "wrong", "extra")),
                size(sum(e["size"] or 0 for e in self.told if e["kind"] == k)),
                size(sum(e["size"] or 0 for e in self.shown if e["kind"] == k)),
            )
            for k in kinds
        ]
        head = ["kind", "program", "daemon", "missing", "wrong size", "extra"]
        lines = table([*head, "program's bytes", "daemon's bytes"], rows)
        return [*lines, *self._differences()]

    def _differences(self):
        rows = [("missing", e, "") for e in self.missing]
        rows += [("wrong size", t, f"daemon: {s['size']}") for t, s in self.wrong]
        rows += [
            ("extra", e, f"age {e.get('age_s', 0):.0f} s, site {e.get('site')}") for e in self.extra
        ]
        if not rows:
            return []
        head = ["difference", "kind", "api", "ptr", "handle", "size", ""]
        lines = [
            (what, e["kind"], e["api"], e["ptr"], e.get("handle") or "", e["size"], note)
            for what, e, note in rows[:SHOWN]
        ]
        more = [f"… and {len(rows) - SHOWN} more", ""] if len(rows) > SHOWN else []
        return [*table(head, lines), *more]


def settled(daemon, pid, told):
    """Compares until they are equal, or for some seconds."""
    until = time.monotonic() + SETTLE_S
    while True:
        comparison = Comparison(told, daemon.allocs(pid))
        if comparison.equal() or time.monotonic() > until:
            return comparison
        time.sleep(0.1)


def verdict(comparison, daemon, pid):
    partial = (daemon.row(pid) or {}).get("partial", [])
    lost = {k: n for k, n in daemon.ctl("status")["events"]["lost"].items() if n}
    word = "**Equal**" if comparison.equal() else "**Not equal**"
    return (
        f"{word}: {len(comparison.told)} entries of the program, {len(comparison.shown)} of the"
        f" daemon; partial: {', '.join(partial) or 'nothing'}; lost: {lost or 'nothing'}."
    )


def failed_steps(said):
    """A line of the steps that did not work, where there are some."""
    failed = [f"`{s['call']}`: {s['result']}" for s in said if s.get("result") and "call" in s]
    return [f"Calls that failed: {'; '.join(failed)}", ""] if failed else []


def nvml_bytes(pid):
    """What NVML says that the process holds on GPUs; None where it does not say."""
    query = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    text = output_of("nvidia-smi", *query)
    used = [line.split(",") for line in (text or "").splitlines()]
    amounts = [
        int(f[1]) for f in used if len(f) == 2 and int(f[0]) == pid and f[1].strip().isdigit()
    ]
    return sum(amounts) << 20 if amounts else None


def rounded(entries):
    """An estimate of what the driver sets aside: whole pieces, small ones together in some."""
    small = sum(e["size"] for e in entries if e["size"] < ROUND // 2)
    large = [e["size"] for e in entries if e["size"] >= ROUND // 2]
    return sum(-(-s // ROUND) * ROUND for s in [*large, small])


def nvml_lines(before, after, shown):
    """The daemon's sum beside NVML's figure, and where the difference comes from."""
    if after is None or before is None:
        return ["NVML: nvidia-smi is missing or does not list the process.", ""]
    entries = [e for e in shown if e["kind"] in ON_DEVICE and e["size"]]
    total = sum(e["size"] for e in entries)
    rounding = rounded(entries) - total
    rows = [
        ("NVML, context only (context, code)", size(before)),
        ("NVML now", size(after)),
        ("daemon: device, managed, array, vmm", size(total)),
        ("estimate of rounding to 2 MiB", size(rounding)),
        (
            "NVML now − context − daemon − rounding",
            f"{(after - before - total - rounding) / 2**20:.1f} MiB",
        ),
    ]
    note = "The rest: reserves of pools, code loaded late, graphs; managed memory not on the GPU."
    return [*table(["", "bytes"], rows), note, ""]


def of_program(host):
    with program(host) as worker, Daemon([worker.pid], host.libraries()) as daemon:
        worker.do("context")
        before = nvml_bytes(worker.pid)
        said = worker.do("keep")
        comparison = settled(daemon, worker.pid, kept(said))
        after = nvml_bytes(worker.pid)
        lines = [verdict(comparison, daemon, worker.pid), "", *comparison.lines()]
        lines += failed_steps(said)
        lines += nvml_lines(before, after, comparison.shown)
        worker.do("drop")
        comparison = settled(daemon, worker.pid, [])
        lines += [f"After all was given back: {verdict(comparison, daemon, worker.pid)}", ""]
        return lines + ([] if comparison.equal() else comparison.lines())


def of_torch(host, backend):
    with torch_program(host, backend) as worker:
        with Daemon([worker.pid], host.libraries()) as daemon:
            worker.do("load")
            before = nvml_bytes(worker.pid)
            said = worker.do("keep")
            comparison = settled(daemon, worker.pid, kept(said))
            lines = [verdict(comparison, daemon, worker.pid), "", *comparison.lines()]
            lines += failed_steps(said)
            return lines + nvml_lines(before, nvml_bytes(worker.pid), comparison.shown)


def restarted(host):
    """The daemon goes and another comes while PyTorch allocates and frees."""
    with Pins() as pins, torch_program(host) as worker:
        if not pins.mounted:
            raise LeftOut("no BPF file system can be mounted")
        with Daemon([worker.pid], host.libraries(), pins) as daemon:
            worker.do("load")
            worker.do("keep")
            worker.tell("churn 4")
            time.sleep(1)
            status = daemon.stop(signal.SIGUSR1)
        time.sleep(0.5)
        with Daemon([worker.pid], host.libraries(), pins) as daemon:
            began = time.monotonic()
            said = worker.hear("churn 4")
            late = time.monotonic() - began
            comparison = settled(daemon, worker.pid, kept(said))
            events = daemon.ctl("status")["events"]
            rounds = next(line["rounds"] for line in said if "rounds" in line)
            return [
                f"The first daemon ended with status {status} at SIGUSR1; the second was there"
                f" {late:.1f} s before the end of {rounds} rounds of allocating and freeing, and"
                f" recovered {events['recovered']} entries.",
                "",
                verdict(comparison, daemon, worker.pid),
                "",
                *comparison.lines(),
            ]
