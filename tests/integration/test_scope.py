# SPDX-License-Identifier: Apache-2.0
"""Who is tracked: by rule, by a person's word, and what a reload changes while processes run."""
import collections
import concurrent.futures
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import threading

import kernel
import pytest
from conftest import LEAK, PATIENCE, ROOT, SIM, as_entries, count_is, read_ledger, wait_until
from test_life import FORKER, holding, image_of, start_as
from churn import Churn, assert_conserved, expected_and_shown, truth

ON_DEMAND = ROOT / "tests" / "workloads" / "on_demand.py"
PYTHON = "/usr/bin/python3.11"
NOBODY = 65534
COUNT = 7
SIZE = 4096
TOGGLES = 30


@pytest.fixture
def open_directory():
    """One that others can enter, with a leak and its libraries."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        shutil.copytree(SIM, pathlib.Path(path) / "simcuda")
        shutil.copy2(LEAK, path)
        yield pathlib.Path(path)


class Configured:
    """A daemon with a configuration file, which can be written anew."""

    def __init__(self, start_daemon, directory, text="", **how):
        self.path = directory / "srtleak.conf"
        self.path.write_text(text)
        self.notify_path = directory / "daemon" / "notify"
        self.notify_path.parent.mkdir()
        self.daemon = start_daemon(
            "--config", str(self.path), directory=self.notify_path.parent, **how
        )

    def reload(self, text):
        """Sends SIGHUP; returns what the daemon told systemd when it was done."""
        self.path.write_text(text)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.notify_path))
            notify.settimeout(PATIENCE)
            self.daemon.process.send_signal(signal.SIGHUP)
            assert notify.recv(256).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            ready, _, status = notify.recv(1024).decode().partition("\n")
        self.notify_path.unlink()
        assert ready == "READY=1"
        return status.removeprefix("STATUS=")


@pytest.fixture
def configured(start_daemon, tmp_path):
    return lambda text="", **how: Configured(start_daemon, tmp_path, text, **how)


def policy_of(daemon, pid):
    """(verdict, fixed) as the probes have it."""
    for entry in kernel.map_entries(daemon.process.pid, "policies"):
        if entry["formatted"]["key"] == pid:
            value = entry["formatted"]["value"]
            return value["verdict"], value["fixed"]
    return None


TRACKED_BY_HAND, IGNORED_BY_HAND, IGNORED_BY_RULE = (1, 1), (2, 1), (2, 0)


def assert_ignored(daemon, pid):
    """Not shown, and nothing of it is in the kernel: without an image nothing is recorded."""
    assert pid not in daemon.pids()
    assert daemon.run("sites", pid).returncode == 5
    assert image_of(daemon, pid) is None
    images = kernel.map_entries(daemon.process.pid, "processes")
    running = {e["formatted"]["value"]["image"] for e in images}
    wait_until(
        lambda: not [
            e
            for e in kernel.map_entries(daemon.process.pid, "live")
            if e["formatted"]["key"]["image"] not in running
            and e["formatted"]["value"]["size"] == SIZE
        ],
        "nothing of it is live",
    )


def do(process, *words):
    process.process.stdin.write(" ".join(map(str, words)) + "\n")
    process.process.stdin.flush()
    if words[0] != "exec":
        assert process.line()["did"] == words[0]


def on_demand(workload, **environment):
    process = workload(PYTHON, ON_DEMAND, **environment)
    assert process.line()["did"] == "load"
    return process


def assert_shows(daemon, process, tmp_path, *sizes):
    """The tables are the ledger's entries of these sizes, which were taken while it was tracked."""
    path = tmp_path / "ledger"
    do(process, "ledger", path)
    expected = {entry for entry in read_ledger(path) if entry[1] in sizes}
    wait_until(lambda: as_entries(daemon.allocs(process.pid)) == expected, "the ledger's entries")
    assert len(daemon.allocs(process.pid)) == len(expected)


# Rules.


def own_cgroup(daemon, workload):
    process = on_demand(workload)
    row = wait_until(lambda: daemon.process_row(process.pid), "it is known")
    process.kill()
    return row["cgroup"]


def as_nobody(open_directory):
    return ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", open_directory / "leak"]


@pytest.mark.parametrize("sort", ["exe", "user", "cgroup"])
@pytest.mark.parametrize("when", ["--step", "--at-once"])
def test_excluded_processes_are_left_alone(configured, workload, open_directory, sort, when):
    """Known before its first call, or calling at once, when it has to be forgotten again."""
    c = configured(libraries=(str(open_directory / "simcuda" / "*.so.*"),))
    value = {"exe": f"{open_directory}/l*k", "user": "nobody"}.get(sort)
    value = value or own_cgroup(c.daemon, workload)
    c.reload(f"exclude_{sort} = {value}\n")
    program = as_nobody(open_directory) if sort == "user" else [open_directory / "leak"]
    libraries = str(open_directory / "simcuda")
    process = workload(*program, when, "--hold", "100", COUNT, SIZE, SIMCUDA_DIR=libraries)
    assert process.line()["phase"] == "loaded"
    if when == "--step":
        wait_until(
            lambda: policy_of(c.daemon, process.pid) == IGNORED_BY_RULE, "the kernel was told"
        )
        process.step()
    assert process.line()["phase"] == "allocated"
    wait_until(lambda: policy_of(c.daemon, process.pid) == IGNORED_BY_RULE, "the kernel was told")
    wait_until(lambda: image_of(c.daemon, process.pid) is None, "its image is taken back")
    assert_ignored(c.daemon, process.pid)

    c.reload(f"include_{sort} = {value}\n")
    assert policy_of(c.daemon, process.pid) is None
    assert c.daemon.process_row(process.pid)["partial"] == ["late_attach"]
    assert c.daemon.allocs(process.pid) == []


def test_a_verdict_ends_with_the_process(configured, workload):
    c = configured(f"exclude_exe = {LEAK}\n")
    process = holding(workload)
    wait_until(lambda: policy_of(c.daemon, process.pid) == IGNORED_BY_RULE, "the kernel was told")
    process.kill()
    wait_until(lambda: policy_of(c.daemon, process.pid) is None, "the verdict is gone")


def test_included_processes_alone(configured, workload, open_directory):
    c = configured(f"include_exe = {open_directory}/leak\n")
    inside = workload(open_directory / "leak", "--at-once", "--hold", "100", COUNT, SIZE)
    outside = holding(workload)
    count_is(c.daemon, inside.pid, COUNT)
    wait_until(lambda: policy_of(c.daemon, outside.pid) == IGNORED_BY_RULE, "the kernel was told")
    assert c.daemon.pids() == {inside.pid}
    assert c.daemon.process_row(inside.pid)["partial"] == []


def test_reload_applies_to_running_processes(configured, workload, tmp_path):
    c = configured()
    process = on_demand(workload)
    do(process, "alloc", COUNT, 100)
    assert_shows(c.daemon, process, tmp_path, 100)
    assert c.daemon.process_row(process.pid)["partial"] == []

    assert c.reload(f"exclude_exe = {PYTHON}\n") == "Configuration reloaded"
    assert_ignored(c.daemon, process.pid)
    do(process, "alloc", COUNT, SIZE)
    do(process, "free", 100)
    assert_ignored(c.daemon, process.pid)

    c.reload("")
    assert c.daemon.process_row(process.pid)["partial"] == ["late_attach"]
    do(process, "alloc", COUNT, 300)
    do(process, "free", SIZE)
    assert_shows(c.daemon, process, tmp_path, 300)
    wait_until(
        lambda: c.daemon.process_row(process.pid)["frees_unknown"] == COUNT,
        "frees of what was not seen are counted",
    )
    (site,) = c.daemon.ctl("sites", process.pid)["sites"]
    assert [f["function"] for f in site["python"]] == ["alloc", "main", "<module>"]


def test_an_excluded_parent_and_its_child(configured, workload):
    """The child maps nothing by which it could be found: its first call is."""
    c = configured("exclude_exe = /usr/bin/python3*\n")
    parent = workload(PYTHON, FORKER)
    assert parent.line()["phase"] == "loaded"
    parent.step()
    child = parent.line()["child"]
    parent.step()
    assert parent.line()["phase"] == "allocated"
    wait_until(lambda: policy_of(c.daemon, child) == IGNORED_BY_RULE, "the child is ignored too")
    wait_until(lambda: image_of(c.daemon, child) is None, "its image is taken back")
    assert not {parent.pid, child} & c.daemon.pids()


def test_exec_is_another_program(configured, workload, open_directory):
    """Out of scope, into it, and out of it again."""
    c = configured(f"exclude_exe = {PYTHON}\nexclude_exe = {open_directory}/out\n")
    shutil.copy2(LEAK, open_directory / "out")
    process = on_demand(workload)
    do(process, "alloc", 1, 100)
    wait_until(lambda: policy_of(c.daemon, process.pid) == IGNORED_BY_RULE, "it is ignored")
    do(process, "exec", open_directory / "leak", "--at-once", "--hold", "100", COUNT, SIZE)
    count_is(c.daemon, process.pid, COUNT)
    assert c.daemon.process_row(process.pid)["partial"] == []
    assert policy_of(c.daemon, process.pid) is None

    process = on_demand(workload)
    do(process, "exec", open_directory / "out", "--at-once", "--hold", "100", COUNT, SIZE)
    assert process.line()["phase"] == "loaded"
    assert process.line()["phase"] == "allocated"
    wait_until(lambda: policy_of(c.daemon, process.pid) == IGNORED_BY_RULE, "it is ignored")
    wait_until(lambda: image_of(c.daemon, process.pid) is None, "its image is taken back")
    assert_ignored(c.daemon, process.pid)


# A person's word.


def test_untrack_and_track(configured, workload, tmp_path):
    c = configured()
    process = on_demand(workload)
    do(process, "alloc", COUNT, 100)
    assert_shows(c.daemon, process, tmp_path, 100)

    assert c.daemon.ctl("untrack", process.pid) == {"pid": process.pid, "tracked": False}
    assert policy_of(c.daemon, process.pid) == IGNORED_BY_HAND
    assert_ignored(c.daemon, process.pid)
    do(process, "alloc", COUNT, SIZE)
    c.reload(f"include_exe = {PYTHON}\n")  # no rule overrules it
    assert_ignored(c.daemon, process.pid)

    reply = c.daemon.ctl("track", process.pid)
    assert reply == {
        "pid": process.pid, "tracked": True, "mapped": True, "partial": ["late_attach"],
    }  # fmt: skip
    do(process, "alloc", COUNT, 300)
    assert_shows(c.daemon, process, tmp_path, 300)
    c.reload(f"exclude_exe = {PYTHON}\n")
    assert_shows(c.daemon, process, tmp_path, 300)
    log = c.daemon.log()
    for word in ("untrack", "track"):
        assert f"<5>srtleakd: {word} of process {process.pid} by uid 0\n" in log
    (line,) = [x for x in log.splitlines() if f"process {process.pid} (" in x]
    assert line.startswith("<5>") and "late_attach" in line


def test_a_word_lasts_over_exec(configured, workload, open_directory):
    c = configured()
    process = on_demand(workload)
    c.daemon.ctl("untrack", process.pid)
    do(process, "exec", open_directory / "leak", "--at-once", "--hold", "100", COUNT, SIZE)
    assert process.line()["phase"] == "loaded"
    assert process.line()["phase"] == "allocated"
    assert policy_of(c.daemon, process.pid) == IGNORED_BY_HAND
    assert_ignored(c.daemon, process.pid)


def test_a_successor_is_not_meant(configured, workload):
    c = configured()
    first = holding(workload)
    c.daemon.ctl("untrack", first.pid)
    first.kill()
    second = start_as(first.pid, workload, "--at-once", "--hold", "100", "3", "8192")
    count_is(c.daemon, second.pid, 3)
    assert c.daemon.process_row(second.pid)["partial"] == []


def test_a_child_is_not_meant(configured, workload):
    c = configured()
    parent = workload(PYTHON, FORKER)
    assert parent.line()["phase"] == "loaded"
    c.daemon.ctl("untrack", parent.pid)
    parent.step()
    child = parent.line()["child"]
    parent.step()
    assert parent.line()["phase"] == "allocated"
    count_is(c.daemon, child, 1)
    assert c.daemon.process_row(child)["partial"] == []
    assert parent.pid not in c.daemon.pids()


def test_track_before_the_first_library(configured, workload):
    """Named in time, it is tracked from its first call on, whatever the rules say."""
    c = configured(f"exclude_exe = {LEAK}\n")
    shell = workload("/bin/sh", "-c", 'read line; exec "$@"', "sh", LEAK, "--at-once", "--hold",
                     "100", COUNT, SIZE)  # fmt: skip
    assert c.daemon.ctl("track", shell.pid) == {
        "pid": shell.pid, "tracked": True, "mapped": False, "partial": [],
    }  # fmt: skip
    assert "no CUDA library as yet" in c.daemon.run("track", shell.pid).stdout
    shell.step()
    assert shell.line()["phase"] == "loaded"
    count_is(c.daemon, shell.pid, COUNT)
    assert c.daemon.process_row(shell.pid)["partial"] == []


def test_narrowed_to_a_process_and_widened(start_daemon, workload, tmp_path):
    first, second = on_demand(workload), on_demand(workload)
    daemon = start_daemon("--pid", str(first.pid), "--exclude-exe", PYTHON)
    do(first, "alloc", COUNT, 100)
    do(second, "alloc", COUNT, SIZE)
    assert_shows(daemon, first, tmp_path, 100)
    assert_ignored(daemon, second.pid)
    assert daemon.ctl("track", second.pid)["partial"] == ["late_attach"]
    do(second, "alloc", COUNT, 300)
    assert_shows(daemon, second, tmp_path, 300)
    daemon.ctl("untrack", first.pid)
    assert daemon.pids() == {second.pid}


def test_no_such_process(configured, workload):
    c = configured()
    process = on_demand(workload)
    process.kill()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        thread = pool.submit(threading.get_native_id).result()
        for pid in (process.pid, thread):
            for word in ("track", "untrack"):
                assert c.daemon.run(word, pid).returncode == 5
                assert policy_of(c.daemon, pid) is None


def wherever(entries):
    """Physical memory by its handle alone: where it is mapped may change."""
    return collections.Counter(
        (None if handle else ptr, *rest, handle) for ptr, *rest, handle in entries.elements()
    )


def test_switched_while_it_calls(start_daemon, workload, tmp_path):
    """Off and on in the middle of thousands of calls: nothing is left over, nothing is made up."""
    churn = Churn(workload, tmp_path, calls=20_000)
    daemon = start_daemon("--pid", str(churn.pid))
    churn.start_round()
    for _ in range(TOGGLES):
        daemon.ctl("untrack", churn.pid)
        daemon.ctl("track", churn.pid)
    daemon.ctl("untrack", churn.pid)
    churn.end_round()
    wait_until(lambda: image_of(daemon, churn.pid) is None, "its last image is taken back")
    wait_until(lambda: not kernel.map_entries(daemon.process.pid, "live"), "nothing is live")
    assert daemon.ctl("status")["tables"]["allocations"] == 0
    assert_conserved(daemon.ctl("status"))

    before = truth(churn.ledger)
    daemon.ctl("track", churn.pid)
    churn.round()
    after = truth(churn.ledger)

    def wrong():
        older, _ = expected_and_shown(daemon, churn.pid, before)
        all_of_now, shown = expected_and_shown(daemon, churn.pid, after)
        newer, shown_at_all = map(wherever, (all_of_now - older, shown))
        return shown - all_of_now, newer - wherever(older) - shown_at_all

    try:
        wait_until(lambda: not any(wrong()), "all of the new allocations and none that is gone")
    except AssertionError as error:
        raise AssertionError("%s ghosts, %s missing" % wrong()) from error
    assert_conserved(daemon.ctl("status"))


# Reloading.


def test_a_mistake_leaves_all_as_it_was(configured, workload):
    c = configured(f"exclude_exe = {PYTHON}\nmax_series = 100\n")
    python, leak = on_demand(workload), holding(workload)
    wait_until(lambda: leak.pid in c.daemon.pids(), "the other one is known")
    wait_until(lambda: policy_of(c.daemon, python.pid) == IGNORED_BY_RULE, "it is ignored")
    mistake = f"{c.path}:3: exclude_usr: no such key"
    status = c.reload(f"\nexclude_exe = {LEAK}\nexclude_usr = root\n")
    assert status.startswith("Configuration not reloaded") and status.endswith(mistake)
    (line,) = [line for line in c.daemon.log().splitlines() if mistake in line]
    assert line.startswith("<3>")
    assert leak.pid in c.daemon.pids() and python.pid not in c.daemon.pids()

    c.reload(f"exclude_exe = {LEAK}\n")
    assert python.pid in c.daemon.pids() and leak.pid not in c.daemon.pids()


def test_what_needs_a_restart_is_said_and_stays(configured):
    c = configured()
    for _ in range(2):
        c.reload("attach = perf\nsocket = /nowhere\nlisten = none\n")
    warnings = [line for line in c.daemon.log().splitlines() if "needs a restart" in line]
    # The command line has the last word on socket and listen.
    assert len(warnings) == 2
    assert all(w.startswith("<4>srtleakd: attach: ") and w.endswith(" auto") for w in warnings)
    c.reload("attach = auto\n")
    assert c.daemon.log().count("needs a restart") == 2


def test_new_libraries_are_probed(configured, workload, private_libraries):
    libraries = private_libraries()
    c = configured()
    early = on_demand(workload, SIMCUDA_DIR=str(libraries))  # found by its mapping
    wait_until(lambda: early.pid in c.daemon.pids(), "it is known")
    unseen = private_libraries("unseen")
    c.reload(f"libraries = {unseen}/*.so.*\n")
    probed = {p["binary"] for p in c.daemon.ctl("status")["probes"]}
    assert {str(unseen / "libcuda.so.1"), str(unseen / "libcudart.so.13")} <= probed
    process = holding(workload, SIMCUDA_DIR=str(unseen))
    count_is(c.daemon, process.pid, 25)
    assert c.daemon.process_row(process.pid)["partial"] == []


# What the log says of processes.


def test_a_large_process_is_logged_once(configured, workload):
    c = configured("log_above = 1M\n")
    process = on_demand(workload)
    wait_until(lambda: process.pid in c.daemon.pids(), "it is known")

    def lines():
        return [x for x in c.daemon.log().splitlines() if f"process {process.pid} (" in x and " holds " in x]

    def holds(size):
        def is_so():
            usage = c.daemon.process_row(process.pid)["outstanding"]["device"]
            return usage["bytes"] == size

        wait_until(is_so, f"{size} bytes are held")

    do(process, "alloc", 1, 1 << 20)
    holds(1 << 20)
    assert lines() == []
    do(process, "alloc", 1, 4096)
    holds((1 << 20) + 4096)
    comm = c.daemon.process_row(process.pid)["comm"]
    wait_until(lines, "it is logged")
    assert lines() == [
        f"<4>srtleakd: process {process.pid} ({comm}): holds 1.0 MiB of CUDA memory, which is above "
        "log_above (1.0 MiB)"
    ]
    for _ in range(20):  # above, and not below half of it
        do(process, "free", 4096)
        do(process, "alloc", 1, 4096)
    holds((1 << 20) + 4096)
    assert len(lines()) == 1
    do(process, "free", 1 << 20)
    holds(4096)
    do(process, "alloc", 2, 1 << 20)
    holds((2 << 20) + 4096)
    wait_until(lambda: len(lines()) == 2, "and once more")
    c.reload("log_above = none\n")
    do(process, "free", 1 << 20)
    do(process, "alloc", 3, 1 << 20)
    holds((3 << 20) + 4096)
    assert len(lines()) == 2


def test_room_for_words_is_shown(daemon, workload):
    """What was said of processes takes room in the kernel; status tells how much."""

    def used():
        limits = daemon.ctl("status")["limits"]
        (entry,) = [e for e in limits if e["name"] == "policies"]
        assert entry["limit"] > 0 and entry["refused"] == 0
        return entry["used"]

    before = used()
    process = holding(workload)
    assert daemon.run("untrack", process.pid).returncode == 0
    assert used() == before + 1
    process.kill()
    wait_until(lambda: used() == before, "its room is free again")
