# SPDX-License-Identifier: Apache-2.0
"""What the daemon's probes cost the calls of programs."""

import statistics

from report import table
from worker import Daemon, program, torch_program


def measured(worker, host, command):
    """What a command says without a daemon (before and after it) and with one."""
    before = worker.do(command)
    with Daemon([worker.pid], host.libraries()):
        attached = worker.do(command)
    return before, attached, worker.do(command)


def of_program(host):
    with program(host) as worker:
        worker.do("context")
        runs = measured(worker, host, "pairs")
    before, attached, after = ([line for line in run if "pair" in line] for run in runs)
    rows = []
    for one, two, three in zip(before, attached, after):
        name = f"`{one['pair']}` + `{one['undo']}`"
        if one["result"] or two["result"] or not one["n"] or not two["n"]:
            result = one["result"] or two["result"]
            rows.append((name, "–", "–", "–", "–", "", f"result {result}"))
            continue
        alone = statistics.mean([one["median_ns"], three["median_ns"]])
        cost = two["median_ns"] - alone
        spread = abs(one["median_ns"] - three["median_ns"])
        ratio = f"{two['median_ns'] / alone:.2f}" if alone else "–"
        rows.append(
            (
                name,
                f"{alone:,.0f}",
                f"{two['median_ns']:,}",
                f"{cost:,.0f}",
                ratio,
                f"{spread:,}",
                two["n"],
            )
        )
    head = ["pair", "alone, ns", "probed, ns", "cost, ns", "ratio", "noise, ns", "pairs"]
    return [
        "Medians; alone: mean of a run before and one after; noise: the difference of the two.",
        "",
        *table(head, rows),
    ]


def of_torch(host):
    with torch_program(host) as worker:
        worker.do("load")
        runs = measured(worker, host, "speed")
    before, attached, after = ({r["loop"]: r["per_s"] for r in run if "loop" in r} for run in runs)
    rows = []
    for loop, first in before.items():
        alone = statistics.mean([first, after[loop]])
        lost = f"{100 * (1 - attached[loop] / alone):.1f} %"
        noise = f"{100 * abs(first - after[loop]) / alone:.1f} %"
        rows.append((loop, f"{alone:,.0f}", f"{attached[loop]:,.0f}", lost, noise))
    return table(["loop", "alone, per s", "probed, per s", "lost", "noise"], rows)
