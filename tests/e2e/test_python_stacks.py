# SPDX-License-Identifier: Apache-2.0
"""The Python frames that the daemon shows, against the account of the interpreter itself."""
import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, need, wait_until

STACKS = ROOT / "tests" / "workloads" / "stacks.py"
DEBIAN = "/usr/bin/python3.11"
PYENV = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
FRAMES_MAX = 128


def installed(version):
    """The interpreter of that version that pyenv has, or None."""
    return next(map(str, sorted(PYENV.glob(f"{version}.*/bin/python{version}"))), None)


# One with the interpreter in the program, one with it in libpython.
INTERPRETERS = {
    "debian": DEBIAN,
    "libpython": os.environ.get("PYTHON311_EXTRA") or installed("3.11"),
}


@pytest.fixture(params=INTERPRETERS)
def interpreter(request):
    path = INTERPRETERS[request.param]
    if request.param == "debian":
        need(os.path.exists(DEBIAN), f"{DEBIAN}")
    elif not path:
        pytest.skip("no second python3.11: neither $PYTHON311_EXTRA nor one of pyenv's")
    return path


class Program:
    """A run of stacks.py, stopped before its first allocation until the daemon knows it."""

    def __init__(self, start, daemon, interpreter, *arguments, known=True):
        self.daemon = daemon
        self.workload = start(interpreter, STACKS, *arguments, PYTHONHASHSEED="0")
        self.pid = self.workload.pid
        assert self.workload.line() == {"phase": "loaded"}
        self.row = wait_until(
            lambda: self.found(known), f"{interpreter} is tracked, its Python known: {known}"
        )
        self.workload.step()

    def found(self, known):
        row = self.daemon.process_row(self.pid)
        return row if row and (row["python"] or not known) else None

    def records(self):
        """The account, {pointer: frames}."""
        return dict(self.workload.line()["records"])

    def sites(self):
        return {s["id"]: s for s in self.daemon.ctl("sites", self.pid, "--limit", "0")["sites"]}

    def shown(self, count):
        """What the daemon shows when it has that many allocations, {pointer: site}."""
        allocations = wait_until(
            lambda: len(a := self.daemon.allocs(self.pid)) >= count and a,
            f"{count} allocations are shown",
        )
        assert len(allocations) == count
        sites = self.sites()
        return {a["ptr"]: sites[a["site"]] for a in allocations}


def frames(site):
    return [[f["function"], f["file"], f["line"]] for f in site["python"]]


def in_utf8(account):
    """JSON cannot say a lone surrogate; the daemon shows that it could not be said."""
    return [[re.sub("[\ud800-\udfff]", "\ufffd", f), re.sub("[\ud800-\udfff]", "\ufffd", file), n]
            for f, file, n in account]  # fmt: skip


def compare(records, shown):
    """Every frame of every pointer; the first difference is told in full."""
    assert set(records) == set(shown)
    for pointer, account in records.items():
        site = shown[pointer]
        assert frames(site) == in_utf8(account)[:FRAMES_MAX], pointer
        assert site["truncated"] == (len(account) > FRAMES_MAX), pointer


def test_frames_are_those_that_the_interpreter_tells(daemon, workload, interpreter):
    program = Program(workload, daemon, interpreter, "random", 1, 250)
    records = program.records()
    assert len(records) > 250
    compare(records, program.shown(len(records)))


def test_frames_with_perf_links(start_daemon, workload):
    program = Program(workload, start_daemon("--attach", "perf"), DEBIAN, "random", 2, 50)
    records = program.records()
    compare(records, program.shown(len(records)))


def test_stacks_deeper_than_the_bound_are_truncated(daemon, workload, interpreter):
    depths = [1, 50, 100, *range(118, 132), 200, 1000]
    program = Program(workload, daemon, interpreter, "deep", *depths)
    records = program.records()
    lengths = {len(account) for account in records.values()}
    assert {FRAMES_MAX - 1, FRAMES_MAX, FRAMES_MAX + 1} <= lengths, "the bound itself is tried"
    compare(records, program.shown(len(records)))


def test_version_is_shown(daemon, workload, interpreter):
    version = subprocess.run(
        [interpreter, "-c", "import platform; print(platform.python_version())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    program = Program(workload, daemon, interpreter, "deep", 1)
    assert version.startswith(program.row["python"])
    assert program.row["python"].startswith("3.11")


def test_sites_are_equal_in_another_run_and_after_a_restart(start_daemon, workload):
    def identities(daemon, seed):
        program = Program(workload, daemon, DEBIAN, "random", seed, 60)
        records = program.records()
        program.shown(len(records))
        return {i: (s["kind"], frames(s), s["count"]) for i, s in program.sites().items()}

    daemon = start_daemon()
    first = identities(daemon, 3)
    assert len(first) > 60
    assert identities(daemon, 3) == first
    assert identities(daemon, 4) != first
    assert daemon.stop() == 0
    assert identities(start_daemon(), 3) == first


def test_a_function_in_the_place_of_another_has_its_own_name(daemon, workload, interpreter):
    """Each function is deleted when the daemon has shown it, and the next one gets its address."""
    program = Program(workload, daemon, interpreter, "reuse")
    records, places = {}, []
    for _ in range(20):
        report = program.workload.line()
        records |= dict(report["records"])
        places.append(report["code"])
        compare(records, program.shown(len(records)))
        program.workload.step()
    assert len(set(places)) < len(places), "no address was used twice, so this has shown nothing"


@pytest.mark.xfail(
    reason="names are read after the call, and nothing tells whose they are by then", strict=False
)
def test_functions_that_come_and_go_lend_nobody_their_name(daemon, workload, interpreter):
    """They are gone before anyone could ask for their names; then no name is the right one."""
    program = Program(workload, daemon, interpreter, "replace", 300)
    records = program.records()
    for pointer, site in program.shown(len(records)).items():
        told = {frame[0] for frame in records[pointer]}
        for function, _, _ in frames(site):
            assert function in told or function == "?", (pointer, function, records[pointer])


def test_another_version_has_native_stacks_only(daemon, workload):
    other = installed("3.13")
    if not other:
        pytest.skip("pyenv has no python3.13")
    program = Program(workload, daemon, other, "random", 5, 30, known=False)
    records = program.records()
    for site in program.shown(len(records)).values():
        assert site["python"] == []
        assert site["native"]
    assert daemon.process_row(program.pid)["python"] is None
    assert daemon.log().count(f"process {program.pid}: ") == 1, daemon.log()
    assert "native stacks only" in daemon.log()


def test_the_account_can_tell_a_difference():
    """The comparison itself: one line, one name or one frame off is found."""
    account = [["f", "a.py", 1], ["g", "a.py", 2]]

    def site(*named):
        return {"python": [dict(zip(("function", "file", "line"), f)) for f in named],
                "truncated": False}  # fmt: skip

    compare({"0x1": account}, {"0x1": site(*account)})
    for wrong in ([["f", "a.py", 2], account[1]], [["h", "a.py", 1], account[1]], account[:1]):
        with pytest.raises(AssertionError):
            compare({"0x1": account}, {"0x1": site(*wrong)})
