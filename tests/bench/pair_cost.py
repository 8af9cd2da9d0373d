#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an allocation and its free cost a process that is watched, beside memleak-libbpf.

usage: pair_cost.py [ROUNDS]   default 15

A cost is the processor time of the calling thread above that of the same calls without probes: traps,
programs, wake-ups. Both watch functions that do nothing else, from a stack of 20 frames; ours has
probes at four places of a pair (of a free it must know whether it failed), the peer at three.
"""
import contextlib
import itertools

from bench_tools import (
    Libraries,
    Peer,
    Row,
    Times,
    armed,
    kernel_statistics,
    main,
    nanoseconds,
    native_target,
    python_target,
)

ROUNDS = 15
PAIRS = 10_000  # their events fit into the ring
DEPTH = 20
MODES = ("no-stacks", "stacks", "perf", "null", "null-peer", "runtime")
# Who looks at a library → which of its functions are called, where not CUDA's.
FUNCTIONS = {"peer": "peer", "runtime": "runtime"}


class Case:
    """One target with a library for each that looks: a mode of `armed`, "peer", "bare" for nobody,
    "runtime" for ours on a runtime that calls the driver.
    """

    def __init__(self, start, depth, looks):
        self.start, self.depth, self.looks = start, depth, looks
        self.times = {look: Times() for look in looks}
        self.watchers = {}

    def set_up(self, libraries, exits):
        copies = {
            look: libraries.copy_for_peer() if look == "peer" else libraries.copy(f"{id(self)}-{look}")
            for look in self.looks
        }
        arguments = [f"{FUNCTIONS.get(look, 'cuda')}:{path}" for look, path in copies.items()]
        self.target = exits.enter_context(self.start(self.depth, arguments))
        for look, path in copies.items():
            if look == "peer":
                self.watchers[look] = exits.enter_context(Peer(self.target.greeting["pid"], path))
            elif look != "bare":
                mode = "stacks" if look == "runtime" else look
                self.watchers[look] = exits.enter_context(armed(mode, path))

    def run(self, look):
        which = self.looks.index(look)
        return self.target.ask(f"pairs {which} {PAIRS} 1")["cpu_ns"] / PAIRS

    def round(self):
        for look in self.looks:
            self.times[look].add(self.run(look))

    def cost(self, look):
        return self.times[look].less(self.times["bare"])

    def lost(self):
        return sum(w.ask().get("lost", 0) for w in self.watchers.values() if not isinstance(w, Peer))


def account(case, look):
    """The kernel's: nanoseconds in programs and their runs, per pair."""
    watcher = case.watchers[look]

    def read():
        if isinstance(watcher, Peer):
            return watcher.program_ns()
        answer = watcher.ask()
        return answer["program_ns"], answer["runs"]

    before = read()
    case.run(look)
    after = read()
    # The target warms up before it measures; so does a program.
    pairs = PAIRS + 256
    return tuple((b - a) / pairs for a, b in zip(before, after))


def rows_of_costs(native, python, shallow, deep):
    peer, none, stacks = (native.cost(look) for look in ("peer", "no-stacks", "stacks"))
    in_python, peer_in_python = python.cost("stacks"), python.cost("peer")
    return [
        Row("traps alone, at our 4 places", nanoseconds(native.cost("null"))),
        Row("traps alone, at the peer's 3 places", nanoseconds(native.cost("null-peer"))),
        Row("peer, native stack of 20 frames", nanoseconds(peer)),
        Row("ours, no stack", nanoseconds(none), none.least / peer.least, 0.75),
        Row("ours, native stack of 20 frames", nanoseconds(stacks), stacks.least / peer.least, 1.0),
        Row("ours, Python stack of 20 frames", nanoseconds(in_python), in_python.least / peer.least, 1.3),
        Row("peer, in the same Python process (no frame of Python)", nanoseconds(peer_in_python)),
        Row("ours, native stack, perf links (before Linux 6.6)", nanoseconds(native.cost("perf"))),
        Row("ours, Python stack of 1 frame", nanoseconds(shallow.cost("stacks"))),
        Row("ours, Python stack of 100 frames", nanoseconds(deep.cost("stacks"))),
        Row("ours, a runtime that calls the driver (8 probe hits)", nanoseconds(native.cost("runtime"))),
    ]


def rows_of_accounts(native, python):
    looks = [
        ("no stack", native, "no-stacks"),
        ("native stack", native, "stacks"),
        ("Python stack of 20 frames", python, "stacks"),
        ("peer", native, "peer"),
    ]
    found = {what: Times() for what, _, _ in looks}
    with kernel_statistics():
        for _, (what, case, look) in itertools.product(range(5), looks):
            spent, runs = account(case, look)
            found[what].add(spent)
            found[what].runs = runs
    return [
        Row(f"programs alone: {what}", f"{nanoseconds(times)}, {times.runs:.1f} runs",
            times.least / found["peer"].least)
        for what, times in found.items()
    ]


def measure(rounds=ROUNDS):
    native = Case(native_target, DEPTH, ("bare", *MODES, "peer"))
    python = Case(python_target, DEPTH, ("bare", "stacks", "peer"))
    shallow = Case(python_target, 1, ("bare", "stacks"))
    deep = Case(python_target, 100, ("bare", "stacks"))
    cases = (native, python, shallow, deep)
    with Libraries() as libraries, contextlib.ExitStack() as exits:
        for case in cases:
            case.set_up(libraries, exits)
        for _ in range(rounds):
            for case in cases:
                case.round()
        lost = sum(case.lost() for case in cases)
        rows = rows_of_costs(*cases) + rows_of_accounts(native, python)
    return [*rows, Row("events lost in these rounds", f"{lost:,}")]


if __name__ == "__main__":
    main("Cost of an allocation and its free", measure, ROUNDS, __doc__)
