# SPDX-License-Identifier: Apache-2.0
"""The workload that calls every probed function, and how its ledger is compared with the tables."""
import collections
import json
import re
import select

from conftest import BUILD, ROOT, wait_until

CHURN = BUILD / "workloads" / "churn"
THREADS = 16
CALLS = 3000
DROPS = ("process_limit", "live_full", "unreadable", "sampled")


# They end all that was made on a device: see test_context_ends.py.
RESETS = {
    "cudaDeviceReset",
    "cudaGLSetGLDevice",
    "cudaVDPAUSetVDPAUDevice",
    "cuDevicePrimaryCtxReset",
    "cuDevicePrimaryCtxReset_v2",
}
# Exports of libcudart.so.12 that its successor has under another name.
OF_CUDA_12 = {"cudaGraphAddNode_v2"}
# Whose device only the memory's owner knows.
OF_OTHERS = {
    "cuMemImportFromShareableHandle",
    "cuMemPoolImportPointer",
    "cudaMemPoolImportPointer",
}
# Other calls that may free, as the last reference goes.
ENDINGS = {"cuMemUnmap"}


def api_rows():
    """{symbol: (action, kind)} of the table of probed functions."""
    text = (ROOT / "include" / "api.h").read_text(encoding="utf-8")
    rows = re.findall(r"^\tX\((\w+),\s+\w+,\s+(\w+),\s+(\w+),", text, re.MULTILINE)
    return {symbol: (action, kind) for symbol, action, kind in rows}


def entry(row):
    """One allocation; its device as far as the process can know it, others' memory without a size."""
    size = None if row["kind"] in ("ipc", "graph") else row["size"]
    device = None if row["api"] in OF_OTHERS else row["device"]
    # What of others' memory is known by an address or handle is known by that.
    handle = row.get("handle")
    return (row["ptr"], size, row["kind"], row["api"], device, handle)


def truth(ledger):
    with open(ledger, encoding="utf-8") as rows:
        return [entry(with_handle(json.loads(row))) for row in rows]


def with_handle(row):
    """Imported memory has a handle too, and where it is mapped the ledger does not say."""
    if row["api"] == "cuMemImportFromShareableHandle":
        return {**row, "handle": row["ptr"], "ptr": None}
    return row


def shown_entries(daemon, pid):
    return [entry(without_place(a)) for a in daemon.allocs(pid)]


def is_late(daemon, pid):
    process = daemon.process_row(pid)
    return process and "late_attach" in process["partial"]


def expected_and_shown(daemon, pid, expected):
    """Both as multisets; without devices where some threads' contexts cannot be known."""
    shown = shown_entries(daemon, pid)
    if is_late(daemon, pid):
        expected, shown = map(without_devices, (expected, shown))
    return collections.Counter(expected), collections.Counter(shown)


def as_far_as_known(expected, shown):
    """What is expected, without the device where just that is not shown."""
    left = collections.Counter(shown)
    rest, found = [], []
    for one in expected:
        (found if left[one] > 0 else rest).append(one)
        left[one] -= left[one] > 0
    for one, bare in zip(rest, without_devices(rest)):
        found.append(bare if left[bare] > 0 else one)
        left[bare] -= left[bare] > 0
    return found


def devices_known(daemon, pid):
    """The share of allocations whose device is known, of those that are on one."""
    on_devices = [a for a in daemon.allocs(pid) if a["kind"] in ("device", "managed", "array")]
    return sum(a["device"] is not None for a in on_devices) / len(on_devices)


def differences(daemon, pid, ledger):
    """Ghosts and missing ones. An entry that is listed twice is a ghost: for a moment that is right,
    while the daemon has the news of an address's next use and not yet of its free.
    """
    expected, shown = truth(ledger), shown_entries(daemon, pid)
    if is_late(daemon, pid):
        expected = as_far_as_known(expected, shown)
    expected, shown = collections.Counter(expected), collections.Counter(shown)
    return (
        sorted((shown - expected).elements(), key=str),
        sorted((expected - shown).elements(), key=str),
    )


def without_devices(entries):
    return [(ptr, size, kind, api, None, handle) for ptr, size, kind, api, _, handle in entries]


def without_place(row):
    return {**row, "ptr": None} if row["api"] == "cuMemImportFromShareableHandle" else row


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


def unexplained(status):
    """Allocations that are neither live nor counted by the reason why they are not."""
    calls, lost = status["calls"], status["events"]["lost"]
    gone = calls["frees_matched"] + calls["superseded"] + calls["ended"]
    gone += sum(lost[name] for name in DROPS)
    return calls["allocs_seen"] - gone - status["tables"]["live"]


def is_settled(status):
    return status["tables"]["allocations"] == status["tables"]["live"]


def assert_conserved(status):
    """For a quiet moment, in which the daemon's tables have what the live map has."""
    assert unexplained(status) == 0, status
    assert is_settled(status), status


class Churn:
    """A churn and its ledger; counts what it did, by the action of each function."""

    def __init__(self, workload, directory, *options, permille=20, calls=CALLS):
        self.ledger = directory / "ledger"
        arguments = ["--threads", THREADS, "--calls", calls, "--ledger", self.ledger, *options]
        self.workload = workload(CHURN, *arguments, SIMCUDA_FAIL_PERMILLE=str(permille))
        self.said = self.workload.line()
        self.pid = self.said["pid"]

    def start_round(self, times=1):
        self.workload.step(times)

    def goes_on(self):
        """Whether the round is not over yet."""
        return not select.select([self.workload.process.stdout], [], [], 0)[0]

    def end_round(self):
        self.said = self.workload.line()

    def round(self):
        self.start_round()
        self.end_round()

    def sums(self, action):
        """[done, nothing, failed] of what are allocations."""
        rows, done = api_rows(), self.said["rows"]
        of_memory = [
            counts
            for symbol, counts in done.items()
            if rows[symbol][0] == action and (action == "FREE" or rows[symbol][1] != "NONE")
        ]
        sums = [sum(column) for column in zip(*of_memory)]
        if action == "FREE" and sums:
            sums[0] += sum(done[symbol][0] for symbol in ENDINGS)
        return sums

    def ended(self):
        """Allocations that went with their context."""
        return self.said["ended"]

    def calls(self):
        return sum(sum(counts) for counts in self.said["rows"].values())
