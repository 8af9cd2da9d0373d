# SPDX-License-Identifier: Apache-2.0
"""The daemon's tables against the ledger of the simulated driver, entry by entry."""
import re
import shutil
import signal

import kernel
import pytest
from churn import (
    OF_CUDA_12,
    RESETS,
    Churn,
    api_rows,
    assert_conserved,
    assert_equal_to_ledger,
)
from conftest import BUILD, ROOT, SIM, wait_until

JUMP = BUILD / "workloads" / "jump"
IPC_TWICE = ROOT / "tests" / "workloads" / "ipc_twice.py"
USED = (str(SIM / "libcuda.so.1"), str(SIM / "libcudart.so.13"))
RACE = BUILD / "workloads" / "race"
RACES = 20_000
LATER = [(), ("deeper",), ("deeper", "other"), ("deeper", "other", "above")]
POOL_OF_DEVICE = 1 << 63
NOTHING, FAILED = 1, 2  # columns of its counts
ROUNDS = 5
MANY_CALLS = 7000  # of each thread and round
KEPT_AFTER_JUMP = 7


def assert_counted(status, churn):
    """Exact, where the daemon tracks nothing else."""
    allocs, _, failed = churn.sums("ALLOC")
    frees, _, failed_frees = churn.sums("FREE")
    calls = status["calls"]
    assert calls["allocs_seen"] == allocs
    assert calls["failed_allocs"] == failed
    # An address that is used again before the daemon has looked counts as freed.
    assert calls["frees_matched"] + calls["ended"] == frees + churn.ended()
    assert calls["failed_frees"] == failed_frees
    assert calls["superseded"] == calls["frees_unknown"] == 0
    lost = status["events"]["lost"]
    assert lost["lost_return"] == churn.said["left"]
    assert not any(lost[c] for c in lost if c not in ("ring_full", "lost_return")), lost


@pytest.fixture
def alone(start_daemon, workload, tmp_path):
    """A churn, and a daemon that counts nothing but its calls."""

    def start(*options, **how):
        churn = Churn(workload, tmp_path, *options, **how)
        return start_daemon("--pid", str(churn.pid)), churn

    return start


@pytest.mark.parametrize("attach", ["multi", "perf"])
def test_every_function_on_many_threads(start_daemon, workload, tmp_path, attach):
    daemon = start_daemon("--attach", attach, libraries=USED)
    churn = Churn(workload, tmp_path, "--leave", calls=MANY_CALLS)
    for _ in range(ROUNDS):
        churn.round()
        assert_equal_to_ledger(daemon, churn.pid, churn.ledger)

    assert daemon.ctl("status")["attach_mode"] == attach
    assert set(churn.said["rows"]) == set(api_rows()) - OF_CUDA_12
    assert {s for s, counts in churn.said["rows"].items() if not sum(counts)} == RESETS
    assert churn.ended() > 100
    # Which function fails is left to chance; a rare one may have been spared.
    assert sum(failed > 0 for _, _, failed in churn.said["rows"].values()) > 40
    assert churn.calls() >= 550_000  # with each kind of link
    assert churn.said["left"] > 500
    assert daemon.ctl("status")["events"]["lost"]["lost_return"] == churn.said["left"]
    assert daemon.process_row(churn.pid)["partial"] == ["lost"]


def test_every_call_is_counted_once(alone):
    daemon, churn = alone()
    for _ in range(ROUNDS):
        churn.round()
        assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
        assert_conserved(daemon.ctl("status"))
    assert churn.sums("ALLOC")[NOTHING] > 0 and churn.sums("FREE")[NOTHING] > 0
    assert_counted(daemon.ctl("status"), churn)


def pool_numbers(daemon, ended):
    """Those in use, or whose pool is no more."""
    entries = kernel.handles(daemon.process.pid, kernel.SPACE_POOL_NUMBER)
    return {key["addr"] for key, value in entries if bool(value["flags"] & kernel.HANDLE_ENDED) == ended}


def pool_numbers_known(daemon):
    """Those of pools that have a handle, and of the devices' own."""
    entries = kernel.handles(daemon.process.pid, kernel.SPACE_POOL)
    return {v["id"] if k["addr"] & POOL_OF_DEVICE else v["number"] for k, v in entries}


def test_calls_that_never_return(alone):
    """Left by longjmp now and then, on all threads, over the frames of the runtime too."""
    daemon, churn = alone("--leave")
    for _ in range(ROUNDS):
        churn.round()
        assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
        assert_conserved(daemon.ctl("status"))
    assert churn.said["left"] > 100
    assert pool_numbers(daemon, ended=False) == pool_numbers_known(daemon)
    assert_counted(daemon.ctl("status"), churn)
    assert daemon.process_row(churn.pid)["partial"] == ["late_attach", "lost"]


def test_driver_alone(alone):
    daemon, churn = alone("--driver")
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    apis = {a["api"] for a in daemon.allocs(churn.pid)}
    assert len(apis) > 10 and all(re.match("cu[A-Z]", api) for api in apis)
    assert_counted(daemon.ctl("status"), churn)


def test_failed_calls_change_nothing(alone):
    daemon, churn = alone(permille=1000)
    churn.round()
    done, _, failed = churn.sums("ALLOC")
    assert done == 0 and failed > 1000
    wait_until(
        lambda: daemon.ctl("status")["calls"]["failed_allocs"] == failed, "failures are counted"
    )
    assert daemon.allocs(churn.pid) == []
    assert_counted(daemon.ctl("status"), churn)


def test_failed_frees_put_back_what_they_took(alone):
    daemon, churn = alone(permille=500)
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    assert churn.sums("FREE")[FAILED] > 5000
    assert_counted(daemon.ctl("status"), churn)


def test_stopped_daemon_repairs_its_tables(alone):
    daemon, churn = alone()
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    calls = churn.calls()
    assert daemon.ctl("status")["events"]["lost"]["ring_full"] == 0

    daemon.process.send_signal(signal.SIGSTOP)
    while churn.calls() < calls + 150_000:
        churn.round()
    daemon.process.send_signal(signal.SIGCONT)

    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    events = daemon.ctl("status")["events"]
    assert events["lost"]["ring_full"] > 0
    assert events["recovered"] > 0
    assert_conserved(daemon.ctl("status"))
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)


def test_repair_while_the_workload_goes_on(alone):
    daemon, churn = alone(calls=12_000)
    daemon.process.send_signal(signal.SIGSTOP)
    churn.round()
    churn.start_round()
    daemon.process.send_signal(signal.SIGCONT)
    churn.end_round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    assert daemon.ctl("status")["events"]["lost"]["ring_full"] > 0
    assert_conserved(daemon.ctl("status"))


@pytest.fixture
def start_jump(start_daemon, workload, tmp_path):
    """A program with its own exported cudaMalloc, under a name that is looked for."""
    program = tmp_path / "libcudart.so.12"
    shutil.copy(JUMP, program)

    def start(*how):
        process = workload(program, *how)
        assert process.line() == {"phase": "started"}
        daemon = start_daemon("--pid", str(process.pid), libraries=(str(program),))
        process.step()
        return daemon, process

    return start


@pytest.mark.parametrize("later", LATER, ids=" ".join)
@pytest.mark.parametrize("how", ["return", "longjmp", "signal", "thread"])
def test_call_that_never_returns(start_jump, how, later):
    daemon, process = start_jump(how, *later)
    assert process.line() == {"phase": "kept"}
    wait_until(lambda: len(daemon.allocs(process.pid)) == KEPT_AFTER_JUMP, "later calls are seen")
    lost = how != "return"
    assert daemon.ctl("status")["events"]["lost"]["lost_return"] == lost
    wait_until(
        lambda: ("lost" in daemon.process_row(process.pid)["partial"]) == lost,
        "the process is marked where a call was lost, and only there",
    )


@pytest.mark.parametrize("how", [("second",), *(("runtime", *l) for l in LATER)], ids=" ".join)
def test_runtime_call_that_never_returns(start_daemon, workload, how):
    """What the program asks of the driver then, or of another runtime, is no part of it."""
    process = workload(JUMP, *how)
    assert process.line() == {"phase": "started"}
    daemon = start_daemon("--pid", str(process.pid))
    process.step()
    assert process.line() == {"phase": "kept"}
    wait_until(lambda: len(daemon.allocs(process.pid)) == KEPT_AFTER_JUMP, "later calls are seen")
    assert daemon.ctl("status")["events"]["lost"]["lost_return"] == 1
    api = "cudaMalloc" if how == ("second",) else "cuMemAlloc_v2"
    assert {a["api"] for a in daemon.allocs(process.pid)} == {api}


def test_reset_that_never_returns(start_daemon, workload):
    """Another runtime's at the same place of the stack is no second sight of it."""
    process = workload(JUMP, "reset")
    assert process.line() == {"phase": "started"}
    daemon = start_daemon("--pid", str(process.pid))
    process.step()
    assert process.line() == {"phase": "kept"}
    wait_until(lambda: daemon.ctl("status")["calls"]["allocs_seen"] == 3, "all calls are seen")
    wait_until(lambda: len(daemon.allocs(process.pid)) == 1, "what came last is there")
    assert daemon.ctl("status")["events"]["lost"]["lost_return"] == 1


def test_address_handed_out_again(start_jump):
    """Its free was not seen, but must have been."""
    daemon, process = start_jump("again")
    assert process.line() == {"phase": "kept"}
    wait_until(
        lambda: daemon.ctl("status")["calls"]["superseded"] == KEPT_AFTER_JUMP - 1, "it is counted"
    )
    wait_until(lambda: len(daemon.allocs(process.pid)) == 1, "one allocation has the address")
    assert_conserved(daemon.ctl("status"))


def test_exec_inside_a_call(start_jump):
    daemon, process = start_jump("exec")
    assert process.line() == {"phase": "started"}
    process.step()
    assert process.line() == {"phase": "kept"}
    wait_until(lambda: len(daemon.allocs(process.pid)) == KEPT_AFTER_JUMP, "the next program")
    assert_conserved(daemon.ctl("status"))


def test_ipc_memory_opened_twice(daemon, workload, tmp_path):
    """One address, to be closed as often as it was opened: it stays until the last time."""
    process = workload("/usr/bin/python3", IPC_TWICE, tmp_path / "ledger")
    for phase in ("opened", "opened_again", "closed_once", "closed"):
        assert process.line()["phase"] == phase
        assert_equal_to_ledger(daemon, process.pid, tmp_path / "ledger", patience=2)
        process.step()


@pytest.mark.parametrize(
    "what", ["memory", "host", "array", "pool", "physical", "mapping", "context", "range", "opening"]
)
def test_two_threads_end_one_thing_at_once(start_daemon, workload, tmp_path, what):
    """The one that fails must not bring it back, whichever the probes have seen first."""
    ledger = tmp_path / "ledger"
    process = workload(RACE, what, RACES, ledger)
    pid = process.line()["pid"]
    daemon = start_daemon("--pid", str(pid))
    process.step()
    by_second = process.line()["by_second"]
    assert what in ("range", "opening") or 0 < by_second < RACES, "either may win"
    assert_equal_to_ledger(daemon, pid, ledger)
    status = daemon.ctl("status")
    assert_conserved(status)
    calls = status["calls"]
    assert calls["frees_unknown"] == 0 and (what == "range" or calls["superseded"] == 0), calls
    # More pools are made in a second than have numbers; that is said.
    partial = ["late_attach", "limit"] if what == "pool" else ["late_attach"]
    wait_until(lambda: daemon.process_row(pid)["partial"] == partial, "only that is missing")
    row = daemon.process_row(pid)
    assert row["frees_unknown"] == 0 and row["pools"] == []

    def spaces():
        entries = kernel.map_entries(daemon.process.pid, "handles")
        return sorted(entry["formatted"]["key"]["space"] for entry in entries)

    left = [kernel.SPACE_CONTEXT, kernel.SPACE_PRIMARY, kernel.SPACE_CONTEXT_NUMBER]
    wait_until(lambda: spaces()[:4] == left, "the first context is left, and all numbers are free")
    assert kernel.map_entries(daemon.process.pid, "mappings") == []


@pytest.mark.parametrize("what", ["parts", "badly", "closings", "retained", "mapped", "primary"])
def test_references_of_two_threads_some_of_which_fail(start_daemon, workload, tmp_path, what):
    """A call that fails gives up nothing, nor does it take what another makes at the same moment."""
    ledger = tmp_path / "ledger"
    daemon = start_daemon(libraries=USED)
    process = workload(RACE, what, RACES, ledger, SIMCUDA_FAIL_PERMILLE="20")
    pid = process.line()["pid"]
    process.step()
    process.line()
    assert_equal_to_ledger(daemon, pid, ledger)
    status = daemon.ctl("status")
    assert_conserved(status)
    assert what == "primary" or status["calls"]["failed_frees"] > RACES / 100
    assert status["calls"]["superseded"] == status["calls"]["frees_unknown"] == 0, status["calls"]
    counted = sum(a["kind"] in ("vmm", "ipc") for a in daemon.allocs(pid))
    assert len(kernel.map_entries(daemon.process.pid, "referents")) == counted
