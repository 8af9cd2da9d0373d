# SPDX-License-Identifier: Apache-2.0
"""The workload that calls every probed function, and how its ledger is compared with the tables."""
import collections
import re

from conftest import BUILD, ROOT, as_entries, read_ledger, wait_until

CHURN = BUILD / "workloads" / "churn"
THREADS = 16
CALLS = 3000
DROPS = ("process_limit", "live_full", "unreadable")


def api_rows():
    """{(symbol, action)} of the table of probed functions."""
    text = (ROOT / "include" / "api.h").read_text(encoding="utf-8")
    return dict(re.findall(r"^\tX\((\w+),\s+\w+,\s+(ALLOC|FREE),", text, re.MULTILINE))


def truth(ledger):
    """The ledger as the daemon is to show it: others' memory has no size of ours."""
    return {(p, 0 if kind == "ipc" else s, kind, api) for p, s, kind, api in read_ledger(ledger)}


def differences(daemon, pid, ledger):
    """Ghosts and missing ones. An entry that is listed twice is a ghost: for a moment that is right,
    while the daemon has the news of an address's next use and not yet of its free.
    """
    expected = collections.Counter(truth(ledger))
    shown = collections.Counter(
        entry for allocation in daemon.allocs(pid) for entry in as_entries([allocation])
    )
    return sorted((shown - expected).elements()), sorted((expected - shown).elements())


def assert_equal_to_ledger(daemon, pid, ledger, patience=10):
    def equal():
        return differences(daemon, pid, ledger) == ([], [])

    try:
        wait_until(equal, "the tables equal the ledger", patience)
    except AssertionError as error:
        ghosts, missing = differences(daemon, pid, ledger)
        raise AssertionError(
            f"{len(ghosts)} ghosts: {ghosts[:5]}\n{len(missing)} missing: {missing[:5]}"
        ) from error


def assert_conserved(status):
    """Whatever was allocated is live, or counted by the reason why it is not."""
    calls, lost = status["calls"], status["events"]["lost"]
    gone = calls["frees_matched"] + calls["superseded"] + calls["ended"]
    gone += sum(lost[name] for name in DROPS)
    assert calls["allocs_seen"] == gone + status["tables"]["allocations"], status


class Churn:
    """A churn and its ledger; counts what it did, by the action of each function."""

    def __init__(self, workload, directory, *options, permille=20, calls=CALLS):
        self.ledger = directory / "ledger"
        arguments = ["--threads", THREADS, "--calls", calls, "--ledger", self.ledger, *options]
        self.workload = workload(CHURN, *arguments, SIMCUDA_FAIL_PERMILLE=str(permille))
        self.said = self.workload.line()
        self.pid = self.said["pid"]

    def start_round(self):
        self.workload.step()

    def end_round(self):
        self.said = self.workload.line()

    def round(self):
        self.start_round()
        self.end_round()

    def sums(self, action):
        """[done, nothing, failed]"""
        actions = api_rows()
        counts = [c for symbol, c in self.said["rows"].items() if actions[symbol] == action]
        return [sum(column) for column in zip(*counts)]

    def calls(self):
        return sum(sum(counts) for counts in self.said["rows"].values())
