# SPDX-License-Identifier: Apache-2.0
"""What holds while events are lost, daemons are killed, and calls are under way."""
import os
import shutil
import signal
import subprocess

import kernel
import pytest
from churn import THREADS, Churn, assert_conserved, assert_equal_to_ledger, unexplained
from conftest import BUILD, LEAK, ROOT, SIM, SMALL, count_is, step_to, wait_until
from ordeal import EARLY, KILLED, RESTARTED, USUAL, Ordeal

ROUNDS = 5
CALLS = 2000  # of each thread
MANY_CALLS = 12_000
# A call is counted when it begins and when it ends; one may remove two mappings.
UNDER_WAY = 2 * THREADS
READINGS = 20
JUMP = BUILD / "workloads" / "jump"
KEPT_AFTER_JUMP = 7
FORKER = ROOT / "tests" / "workloads" / "forker.py"
SHORT_LIVED = 10
COUNT = 25
AFTER_EXEC = 2


def test_ring_of_a_few_pages(start_daemon, workload, tmp_path):
    churn = Churn(workload, tmp_path)
    daemon = start_daemon("--pid", str(churn.pid), binary=SMALL)
    for _ in range(ROUNDS):
        churn.round()
        assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
        status = daemon.ctl("status")
        assert_conserved(status)
    assert status["events"]["lost"]["ring_full"] > status["events"]["recovered"] > 0


@pytest.mark.parametrize("binary", [USUAL, SMALL], ids=["", "small"])
def test_conserved_between_any_two_calls(start_daemon, workload, tmp_path, binary):
    """Whatever the daemon has read of the events: the kernel's figures agree at any moment."""
    churn = Churn(workload, tmp_path, calls=MANY_CALLS)
    daemon = start_daemon("--pid", str(churn.pid), binary=binary)
    churn.start_round()
    readings = []
    while churn.goes_on():
        readings.append(daemon.ctl("status"))
    churn.end_round()
    seen = {status["calls"]["allocs_seen"] for status in readings}
    assert len(seen) >= READINGS, "the calls go on while they are counted"
    off = [unexplained(status) for status in readings]
    assert max(map(abs, off)) <= UNDER_WAY, off
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    assert_conserved(daemon.ctl("status"))


# The kernel takes its time over perf links.
@pytest.mark.parametrize(
    "attach,how,times", [("multi", KILLED, 20), ("perf", KILLED, 2), ("multi", RESTARTED, 8)]
)
def test_ended_again_and_again(restart, workload, tmp_path, attach, how, times):
    ordeal = Ordeal(restart, workload, tmp_path, attach, seed=1, calls=CALLS)
    ordeal.outlast()
    for _ in range(times):
        ordeal.round(how)
    figures = ordeal.figures()
    assert figures["recovered"] > 0 and figures["under load"] >= times / 2, figures


def test_killed_at_any_moment_of_the_start(restart, workload, tmp_path):
    ordeal = Ordeal(restart, workload, tmp_path, "multi", seed=2, calls=CALLS)
    for _ in range(4):
        ordeal.round(EARLY)


def end_early():
    """Processes that are over before anyone has looked, with all that they held."""
    environment = {**os.environ, "SIMCUDA_DIR": str(SIM), "SIMCUDA_INIT_MS": "0"}
    for _ in range(SHORT_LIVED):
        subprocess.run(
            [LEAK, "--at-once", str(COUNT), "4096"],
            env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def images(daemon, name, of):
    return {of(entry["formatted"]) for entry in kernel.map_entries(daemon.process.pid, name)}


def test_processes_come_and_go_while_no_daemon_runs(restart, workload, tmp_path):
    """Under load: threads that end inside a call, exec inside a call and with memory held, a fork
    whose child is the first to call, ends with and without a word.
    """
    program = tmp_path / "libcudart.so.12"
    shutil.copy(JUMP, program)
    how = {"libraries": (str(SIM / "*.so.*"), str(program))}
    churn = Churn(workload, tmp_path)
    jumps = [workload(program, way) for way in ("thread", "longjmp", "exec")]
    killed = workload(LEAK, "--step", COUNT, 4096)
    after_exec = ("--exec", "--at-once", "--step", AFTER_EXEC, 512)
    changed = workload(LEAK, "--step", COUNT, 4096, *after_exec)
    forker = workload("/usr/bin/python3", FORKER)
    for process in (*jumps, killed, changed, forker):
        process.line()
    daemon = restart(**how)
    children = []

    def meanwhile():
        churn.start_round()
        for process in (*jumps, killed, changed, forker):
            process.step()
        killed.line()
        killed.kill()
        changed.line()
        step_to(changed, "loaded")  # as another program
        step_to(changed, "allocated")
        end_early()
        children.append(forker.line()["child"])
        forker.step()
        assert forker.line()["phase"] == "allocated"
        for process in jumps:
            process.line()
        jumps[-1].step()  # what it has become
        jumps[-1].line()
        churn.end_round()

    daemon = restart.again(daemon, signal.SIGKILL, meanwhile=meanwhile, **how)
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    for process in jumps:
        count_is(daemon, process.pid, KEPT_AFTER_JUMP)
    count_is(daemon, children[0], 1)
    count_is(daemon, changed.pid, AFTER_EXEC)
    assert killed.pid not in daemon.pids()
    # Others of this host may be in the middle of a call.
    wait_until(lambda: unexplained(daemon.ctl("status")) == 0, "the sums come out right")
    assert images(daemon, "live", lambda e: e["key"]["image"]) <= images(
        daemon, "processes", lambda e: e["value"]["image"]
    )
