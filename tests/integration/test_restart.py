# SPDX-License-Identifier: Apache-2.0
"""What the daemon leaves to its successor, and what it does not: restarts in which nothing is lost."""
import os
import shutil
import signal
import struct
import subprocess
import time

import kernel
import pytest
from churn import Churn, assert_conserved, assert_equal_to_ledger, devices_known, entry
from conftest import BIN, BUILD, LEAK, PATIENCE, SIM, WITHOUT_TOOLKIT
from conftest import count_is, step_to, wait_until
from puppet import LATE, MIB, OUT, Pointer, Puppet, partial, properties

JUMP = BUILD / "workloads" / "jump"
COUNT = 25
OUT_OF_MEMORY = 2


def leak(workload, *options, **environment):
    """One that has loaded its library and waits."""
    process = workload(LEAK, "--step", *options, COUNT, 4096, **environment)
    assert process.line()["phase"] == "loaded"
    return process


def pinned(daemon):
    """The pins of a daemon's object, by name."""
    sets = [s for s in daemon.pins.iterdir() if s.name.startswith("object_")]
    assert len(sets) == 1
    return {p.name: p for p in sets[0].iterdir()}


def reset(pins):
    arguments = [BIN / "srtleakd", "--pin-dir", pins, "--reset"]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)


def settled_as(pin):
    """The name of a library's pins once everybody who had it before is known to be late."""
    return pin.replace("unsettled_", "library_")


def names(pins, state):
    return {p.name for p in pins.glob(f"*/{state}_*")}


def test_library_that_was_just_found(restart, workload, private_libraries, tmp_path):
    """Its probes stay, though nobody knows whom they had missed."""
    daemon = restart(libraries=())
    before = names(daemon.pins, "library")
    puppet = Puppet.start(workload, tmp_path / "puppet", SIMCUDA_DIR=str(private_libraries()))
    wait_until(lambda: names(daemon.pins, "unsettled"), "it is probed")
    daemon.process.kill()
    unsettled = names(daemon.pins, "unsettled")
    assert unsettled
    daemon = restart.again(daemon, signal.SIGKILL, libraries=(), meanwhile=lambda: None)
    settled = {settled_as(pin) for pin in unsettled}
    assert settled <= names(daemon.pins, "library") - before
    assert partial(daemon, puppet.pid) == ["late_attach"]
    puppet.cudaMalloc(OUT, MIB)
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == 1, "it is seen, once")


def test_libraries_that_come_all_the_time(restart, workload, private_libraries, tmp_path):
    """Each is settled in its own time."""
    daemon = restart(libraries=())
    Puppet.start(workload, tmp_path / "first", SIMCUDA_DIR=str(private_libraries("first")))
    first = wait_until(lambda: names(daemon.pins, "unsettled"), "it is probed")
    many = iter(range(1000))

    def is_settled():
        number = next(many)
        libraries = private_libraries(f"more{number}")
        leak(workload, SIMCUDA_DIR=str(libraries)).kill()
        return {settled_as(pin) for pin in first} <= names(daemon.pins, "library")

    wait_until(is_settled, "it is settled")


@pytest.mark.parametrize(
    "attach,how", [("multi", signal.SIGKILL), ("multi", signal.SIGUSR1), ("perf", signal.SIGUSR1)]
)
def test_nothing_is_lost(restart, workload, tmp_path, attach, how):
    """Calls of all kinds go on while one daemon ends and the next one starts."""
    churn = Churn(workload, tmp_path)
    options = ("--attach", attach, "--pid", str(churn.pid))
    daemon = restart(*options)
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    churn.start_round()
    daemon = restart.again(daemon, how, *options, meanwhile=churn.end_round)
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    churn.start_round()
    daemon = restart.again(daemon, how, *options)
    churn.end_round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    assert_conserved(daemon.ctl("status"))
    assert daemon.process_row(churn.pid)["partial"] == ["late_attach"]
    assert devices_known(daemon, churn.pid) == 1


def test_what_is_counted_of_a_process_goes_on(restart, workload, tmp_path):
    """Of frees of what nobody saw, and of graphs; meanwhile too, as the kernel counts."""
    puppet = Puppet.start(workload, tmp_path)
    old = [puppet.cudaMalloc(OUT, MIB) for _ in range(3)]
    graph = puppet.cudaGraphCreate(OUT, 0)
    node = Pointer(properties() + struct.pack("<QQQQ", 0, 0, 5 * MIB, 0))

    def step(pointer):
        puppet.cudaFree(pointer)
        puppet.cuGraphAddMemAllocNode(OUT, graph, 0, 0, node)

    def counted():
        row = daemon.process_row(puppet.pid)
        return row["frees_unknown"], row["graph_nodes"]

    def times(n):
        return n, {"allocs": n, "bytes": n * 5 * MIB, "frees": 0}

    options = ("--pid", str(puppet.pid))
    daemon = restart(*options)
    assert counted() == (0, None)  # what it did before nobody knows
    step(old[0])
    assert counted() == times(1)
    daemon = restart.again(daemon, signal.SIGUSR1, *options, meanwhile=lambda: step(old[1]))
    assert counted() == times(2)
    step(old[2])
    assert counted() == times(3)


def test_context_that_is_ended_while_the_daemon_is_killed(restart, workload, tmp_path):
    """An end that fails while no daemon runs, beside allocations in that context and on a stream."""
    puppet = Puppet.start(workload, tmp_path)
    options = ("--pid", str(puppet.pid))
    daemon = restart(*options)
    slow_one = puppet.thread("slow")
    slow_one.cudaSetDevice(1)
    stream = slow_one.cudaStreamCreate(OUT)
    slow_one.cudaMalloc(OUT, MIB)
    puppet.cudaSetDevice(1)
    puppet.simcuda_fail_late(LATE, OUT_OF_MEMORY)
    slow = slow_one.begin("cuDevicePrimaryCtxReset_v2", 1)

    def is_ending():
        numbers = kernel.handles(daemon.process.pid, kernel.SPACE_CONTEXT_NUMBER)
        return any(value["flags"] & kernel.HANDLE_ENDING for _, value in numbers)

    def meanwhile():
        puppet.cudaMalloc(OUT, MIB)
        slow(fails=OUT_OF_MEMORY)
        puppet.cudaSetDevice(0)
        puppet.cudaMallocAsync(OUT, MIB, stream)

    wait_until(is_ending, "it has begun")
    daemon = restart.again(daemon, signal.SIGKILL, *options, meanwhile=meanwhile)
    assert [a["device"] for a in puppet.shown(daemon)] == [1, 1, 1]
    puppet.cuDevicePrimaryCtxReset_v2(1)
    wait_until(lambda: len(daemon.allocs(puppet.pid)) == 1, "what is in no context is left")
    assert [a["api"] for a in puppet.shown(daemon)] == ["cudaMallocAsync"]
    assert daemon.process_row(puppet.pid)["partial"] == ["late_attach"]


def test_who_it_was_stays_known(restart, workload):
    """Since when it is tracked, and its sites by name."""
    daemon = restart()
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    before = daemon.process_row(process.pid)
    sites = daemon.ctl("sites", process.pid)["sites"]
    daemon = restart.again(daemon, signal.SIGKILL)
    after = daemon.process_row(process.pid)
    assert abs(after["attached_at"] - before["attached_at"]) < 0.001
    assert [s["id"] for s in daemon.ctl("sites", process.pid)["sites"]] == [s["id"] for s in sites]


def test_new_process_while_no_daemon_runs(restart, workload):
    """It is seen from its first call on, by the probes that stayed."""
    daemon = restart()
    started = []

    def meanwhile():
        started.append(leak(workload))
        step_to(started[0], "allocated")

    daemon = restart.again(daemon, signal.SIGUSR1, meanwhile=meanwhile)
    count_is(daemon, started[0].pid, COUNT)
    assert daemon.process_row(started[0].pid)["partial"] == []


def test_process_that_ends_while_no_daemon_runs(restart, workload):
    process = leak(workload)
    options = ("--pid", str(process.pid))
    daemon = restart(*options)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    daemon = restart.again(daemon, signal.SIGUSR1, *options, meanwhile=process.kill)
    assert process.pid not in daemon.pids()
    assert_conserved(daemon.ctl("status"))
    assert kernel.map_entries(daemon.process.pid, "live") == []


def test_late_attach_stays_known(restart, workload):
    process = leak(workload)
    step_to(process, "allocated")
    daemon = restart()
    wait_until(lambda: daemon.process_row(process.pid), "it is found")
    assert daemon.process_row(process.pid)["partial"] == ["late_attach"]
    daemon = restart.again(daemon, signal.SIGKILL)
    assert daemon.process_row(process.pid)["partial"] == ["late_attach"]


def test_library_replaced_while_no_daemon_runs(restart, workload, private_libraries):
    """The next daemon takes the old file's probes out and places them in the new one."""
    libraries = private_libraries()
    runtime = libraries / "libcudart.so.13"
    options = ("--libraries", str(libraries / "*.so.*"))
    daemon = restart(*options)
    before = {name for name in pinned(daemon) if name.startswith("library_")}

    def replace():
        shutil.copy(runtime, libraries / "new")
        os.replace(libraries / "new", runtime)

    daemon = restart.again(daemon, signal.SIGUSR1, *options, meanwhile=replace)
    after = {name for name in pinned(daemon) if name.startswith("library_")}
    assert len(before - after) == len(after - before) == 1
    process = leak(workload, SIMCUDA_DIR=str(libraries))
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)


@pytest.mark.parametrize(
    "attach,how", [("multi", signal.SIGTERM), ("multi", signal.SIGINT), ("perf", signal.SIGTERM)]
)
def test_end_leaves_nothing(restart, tmp_path, attach, how):
    library = tmp_path / "libcudart.so.12"  # of two functions: perf links take their time to go
    shutil.copy(JUMP, library)
    daemon = restart("--attach", attach, libraries=(str(library),), wrapper=WITHOUT_TOOLKIT)
    held = kernel.held_by(daemon.process.pid)
    assert held and daemon.ctl("status")["pins"] == str(daemon.pins)
    assert daemon.stop(how) == 0
    assert not daemon.pins.exists()
    wait_until(lambda: not held & kernel.objects(), "no program, map or link is left")


def test_keep_on_exit(restart, workload):
    daemon = restart("--keep-on-exit", "yes")
    process = leak(workload)
    daemon = restart.again(
        daemon, signal.SIGTERM, meanwhile=lambda: step_to(process, "allocated")
    )
    count_is(daemon, process.pid, COUNT)


def test_reset(restart):
    daemon = restart()
    held = kernel.held_by(daemon.process.pid)
    refused = reset(daemon.pins)
    assert refused.returncode == 7 and "a daemon uses it" in refused.stderr
    assert daemon.stop(signal.SIGUSR1) == 0
    assert pinned(daemon)
    done = reset(daemon.pins)
    assert (done.returncode, done.stderr) == (0, "")
    assert not daemon.pins.exists()
    wait_until(lambda: not held & kernel.objects(), "no program, map or link is left")
    assert reset(daemon.pins).returncode == 0


def test_reset_leaves_alone_what_is_not_ours(restart):
    """A directory that was named by mistake: one with the pins of others, and that of a running daemon."""
    daemon = restart()
    assert daemon.stop(signal.SIGUSR1) == 0
    others = ["new", "object_", "object_x", "object_0123456789abcdeg", "object_0123456789abcdef0"]
    for other in others:
        (daemon.pins / other).mkdir()
    done = reset(daemon.pins)
    assert done.returncode == 0 and "the directory stays: Directory not empty" in done.stderr
    assert sorted(p.name for p in daemon.pins.iterdir()) == sorted(others)
    for other in others:
        (daemon.pins / other).rmdir()
    daemon = restart()
    before = pinned(daemon)
    done = reset(daemon.pins.parent)
    assert done.returncode == 0 and "the directory stays" in done.stderr
    assert pinned(daemon).keys() == before.keys()


def test_second_daemon_with_the_same_pins(restart, tmp_path):
    daemon = restart()
    second = subprocess.run(
        [BIN / "srtleakd", "--socket", tmp_path / "second.sock", "--listen", "none"]
        + ["--pin-dir", daemon.pins],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    assert second.returncode == 7
    assert f"{daemon.pins}: another daemon uses it" in second.stderr
    assert daemon.ctl("status")["pins"] == str(daemon.pins)


def test_pins_of_another_version(restart, workload):
    daemon = restart()
    assert daemon.stop(signal.SIGUSR1) == 0
    (ours,) = daemon.pins.iterdir()
    ours.rename(daemon.pins / "object_0123456789abcdef")
    daemon = restart()
    assert "another version" in daemon.log() and "starts afresh" in daemon.log()
    assert [p.name for p in daemon.pins.iterdir()] == [ours.name]
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)


def tamper_swap(pins):
    pins["map_live"].rename(pins["map_live"].parent / "x")
    pins["map_python"].rename(pins["map_live"])
    (pins["map_live"].parent / "x").rename(pins["map_python"])


def tamper_missing(pins):
    pins["life_on_exit"].unlink()


def tamper_program(pins):
    pins["program_api_entry"].rename(pins["program_api_entry"].parent / "x")
    pins["program_api_return"].rename(pins["program_api_entry"])
    (pins["program_api_entry"].parent / "x").rename(pins["program_api_return"])


@pytest.mark.parametrize("tamper", [tamper_swap, tamper_missing, tamper_program])
def test_pins_that_do_not_fit(restart, workload, tamper):
    daemon = restart()
    assert daemon.stop(signal.SIGUSR1) == 0
    tamper(pinned(daemon))
    daemon = restart()
    assert "does not fit" in daemon.log() and "starting afresh" in daemon.log()
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.stop(signal.SIGUSR1) == 0
    daemon = restart()
    assert "does not fit" not in daemon.log(), "what was pinned afresh does"
    count_is(daemon, process.pid, COUNT)


def test_half_of_a_library(restart, workload):
    """Its links are made anew, and the process begins anew, for it was not seen meanwhile."""
    daemon = restart()
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.stop(signal.SIGUSR1) == 0
    folders = [p for name, p in pinned(daemon).items() if name.startswith("library_")]
    for folder in folders:
        (folder / "return_0").unlink()
    daemon = restart()
    wait_until(lambda: daemon.process_row(process.pid), "it is found again")
    row = daemon.process_row(process.pid)
    assert row["partial"] == ["late_attach"] and row["outstanding"]["device"] is None
    assert daemon.allocs(process.pid) == []


@pytest.mark.parametrize("what", ["mode", "owner", "no bpffs", "link"])
def test_directory_that_is_no_good(start_daemon, workload, bpffs, tmp_path, what):
    """Tracking without pins is better than none, and is said."""
    pins = tmp_path / "pins" if what == "no bpffs" else bpffs / f"{tmp_path.name}-bad"
    if what == "link":
        (bpffs / f"{tmp_path.name}-real").mkdir(mode=0o700)
        pins.symlink_to(bpffs / f"{tmp_path.name}-real")
    elif what != "no bpffs":
        pins.mkdir(mode=0o755 if what == "mode" else 0o700)
    if what == "owner":
        os.chown(pins, 65534, 65534)
    daemon = start_daemon(pins=pins)
    assert f"{pins}: " in daemon.log() and "nothing is pinned" in daemon.log()
    assert daemon.ctl("status")["pins"] is None
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.stop() == 0
    assert not pins.exists() or not list(pins.iterdir())
    # Whose a directory is does not matter to who only removes what is in it.
    assert reset(pins).returncode == (1 if what == "link" else 0)


def entries(daemon, pid):
    return sorted((entry(allocation) for allocation in daemon.allocs(pid)), key=str)


def test_allocation_table_equals_before_and_after(restart, workload, tmp_path):
    """Entry by entry, for a process that does nothing meanwhile."""
    churn = Churn(workload, tmp_path)
    options = ("--pid", str(churn.pid))
    daemon = restart(*options)
    churn.round()
    assert_equal_to_ledger(daemon, churn.pid, churn.ledger)
    before = entries(daemon, churn.pid)
    daemon = restart.again(daemon, signal.SIGUSR1, *options)
    assert entries(daemon, churn.pid) == before
    assert daemon.ctl("status")["events"]["recovered"] == len(before)


def test_a_persons_word_outlives_the_daemon(restart, workload):
    daemon = restart()
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.run("untrack", process.pid).returncode == 0
    daemon = restart.again(daemon, signal.SIGUSR1)
    assert process.pid not in daemon.pids()
    assert daemon.run("allocs", process.pid).returncode == 5


def test_rules_of_the_next_daemon(restart, workload):
    """It is left alone from the start where they say so, and what was recorded is taken back."""
    process = leak(workload)
    daemon = restart()
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    daemon = restart.again(daemon, signal.SIGUSR1, "--exclude-exe", str(LEAK))
    assert process.pid not in daemon.pids()
    daemon = restart.again(daemon, signal.SIGUSR1)
    row = wait_until(lambda: daemon.process_row(process.pid), "it is tracked again")
    assert row["partial"] == ["late_attach"]
    assert daemon.allocs(process.pid) == []


def test_widened_by_the_next_daemon(restart, workload):
    """What one that was told of a single process has not recorded is owned up to."""
    alone, other = leak(workload), leak(workload)
    daemon = restart("--pid", str(alone.pid))
    step_to(other, "allocated")
    daemon = restart.again(daemon, signal.SIGUSR1)
    row = wait_until(lambda: daemon.process_row(other.pid), "it is tracked")
    assert row["partial"] == ["late_attach"]
    step_to(alone, "allocated")
    count_is(daemon, alone.pid, COUNT)
    assert daemon.process_row(alone.pid)["partial"] == []
    fresh = leak(workload)
    step_to(fresh, "allocated")
    count_is(daemon, fresh.pid, COUNT)
    assert daemon.process_row(fresh.pid)["partial"] == []


# What the packaged service has: without CAP_CHECKPOINT_RESTORE a deleted file cannot be opened.
SERVICE = ("setpriv", "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search")


@pytest.mark.parametrize("wrapper", [(), SERVICE], ids=["root", "service"])
def test_library_replaced_under_a_running_process(restart, workload, private_libraries, wrapper):
    """It goes on with the deleted file, and so do the probes."""
    libraries = private_libraries()
    options = ("--libraries", str(libraries / "*.so.*"))
    daemon = restart(*options, wrapper=wrapper)
    process = leak(workload, SIMCUDA_DIR=str(libraries))

    def replace():
        for name in ("libcudart.so.13", "libcuda.so.1"):
            shutil.copy(libraries / name, libraries / "new")
            os.replace(libraries / "new", libraries / name)

    daemon = restart.again(daemon, signal.SIGUSR1, *options, meanwhile=replace, wrapper=wrapper)
    assert ("was deleted and is in use" in daemon.log()) == bool(wrapper)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.process_row(process.pid)["partial"] == []


def test_command_line_of_an_earlier_daemon(restart, workload):
    """A --pid holds for the daemon that was told of it."""
    first, second = leak(workload), leak(workload)
    daemon = restart("--pid", str(first.pid))
    daemon = restart.again(daemon, signal.SIGUSR1, "--pid", str(second.pid))
    for process in (first, second):
        step_to(process, "allocated")
    count_is(daemon, second.pid, COUNT)
    assert daemon.pids() == {second.pid}


def test_nothing_is_kept_of_processes_that_ended(daemon, workload):
    environment = {**os.environ, "SIMCUDA_DIR": str(SIM), "SIMCUDA_INIT_MS": "0"}
    daemon.process.send_signal(signal.SIGSTOP)
    for _ in range(50):  # over before the daemon has read of them
        subprocess.run(
            [LEAK, "--at-once", "1", "4096"],
            env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    daemon.process.send_signal(signal.SIGCONT)
    stays = leak(workload)
    step_to(stays, "allocated")
    count_is(daemon, stays.pid, COUNT)
    ours = set(daemon.pids())
    wait_until(
        lambda: {e["formatted"]["key"] for e in kernel.map_entries(daemon.process.pid, "tracked")}
        <= ours | set(daemon.pids()),
        "notes are of processes that live",
    )


def test_tracked_again_by_the_next_daemon(restart, workload):
    """What was not seen in between is owned up to, also where the probes were adopted."""
    daemon = restart()
    daemon = restart.again(daemon, signal.SIGUSR1)
    process = leak(workload)
    step_to(process, "allocated")
    count_is(daemon, process.pid, COUNT)
    assert daemon.run("untrack", process.pid).returncode == 0
    assert daemon.run("track", process.pid).returncode == 0
    row = wait_until(lambda: daemon.process_row(process.pid), "it is tracked again")
    assert row["partial"] == ["late_attach"]


def probed_libraries(pins):
    """How many have their probes pinned, while a daemon makes and renames directories there."""
    try:
        return len(list(pins.glob("object_*/*/entry_0")))
    except FileNotFoundError:
        return 0


def killed_while_it_starts(directory, pins, *options):
    """A daemon that is killed as soon as the probes of all libraries are pinned: before it is ready."""
    daemon = subprocess.Popen(
        [BIN / "srtleakd", "--socket", directory / "early.sock", "--listen", "none"]
        + ["--pin-dir", pins, *options],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while probed_libraries(pins) < len(list(SIM.glob("*.so.*"))):
            assert time.monotonic() < deadline and daemon.poll() is None
    finally:
        daemon.kill()
        daemon.wait(timeout=PATIENCE)


def test_killed_before_it_has_looked_at_processes(restart, workload, tmp_path, bpffs):
    """Its probes are there, and what they have missed was noted nowhere: the next daemon must not
    take a process for one that was seen from the start.
    """
    process = leak(workload)
    step_to(process, "allocated")
    killed_while_it_starts(tmp_path, bpffs / tmp_path.name, "--libraries", str(SIM / "*.so.*"))
    daemon = restart()
    row = wait_until(lambda: daemon.process_row(process.pid), "it is found")
    assert row["partial"] == ["late_attach"]
