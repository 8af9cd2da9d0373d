# SPDX-License-Identifier: Apache-2.0
"""Live events: all of them in order, or how many are missing; whoever watches delays no one."""
import collections
import json
import signal
import subprocess
import time

import pytest
from conftest import BIN, BUILD, LEAK, PATIENCE, SMALL, count_is, step_to, wait_until
from wire import Connection

WATCH = "io.srtleak.Watch"
HOARD = BUILD / "workloads" / "hoard"
OUT_OF_MEMORY = 2
WATCHERS_MAX = 8
QUEUE = 16384  # events that wait for one watcher
SILENCE = 5  # seconds after which this daemon drops a client that takes nothing
FIELDS = {
    "time", "pid", "tid", "event", "kind", "api", "ptr", "size", "site", "frame", "result",
}  # fmt: skip


def limit(daemon, name):
    (entry,) = [e for e in daemon.ctl("status")["limits"] if e["name"] == name]
    return entry


def watchers(daemon):
    return limit(daemon, "watchers")["used"]


def begin(connection, **parameters):
    """The first reply says that the watch is on."""
    connection.send(WATCH, more=True, **parameters)
    reply = connection.receive()
    assert reply["continues"] and isinstance(reply["parameters"]["events"], list), reply
    return reply["parameters"]["events"]


def read_while(connection, goes_on, found=()):
    """Events until one for which goes_on() is false, or the end of the stream."""
    found = list(found)
    while not found or goes_on(found):
        reply = connection.receive()
        assert reply and "error" not in reply, reply
        found += reply["parameters"]["events"]
        if not reply.get("continues"):
            break
    return found


def known_leak(daemon, workload, *arguments):
    process = workload(LEAK, "--step", *arguments)
    assert process.line()["phase"] == "loaded"
    wait_until(lambda: process.pid in daemon.pids(), "it is known")
    return process


def run_to_end(process, *phases):
    for phase in phases:
        step_to(process, phase)
    process.step()
    assert process.process.wait(timeout=PATIENCE) == 0


def missing(events):
    return sum(e["count"] for e in events if e["event"] == "dropped")


def count(events):
    return collections.Counter(e["event"] for e in events)


@pytest.fixture
def client(daemon):
    with Connection(daemon.socket) as connection:
        yield connection


def test_every_call_in_order(daemon, workload, client):
    begun = time.time()
    events = begin(client)
    process = known_leak(daemon, workload, "--fail", "2", "--then-free", "3", "4096")
    step_to(process, "allocated")
    wait_until(lambda: len(daemon.allocs(process.pid)) == 3, "three blocks")
    held = {a["ptr"]: a for a in daemon.allocs(process.pid)}
    (site,) = daemon.ctl("sites", process.pid)["sites"]
    run_to_end(process, "freed")

    def goes_on(found):
        return {"pid": process.pid, "event": "exit"} not in [
            {"pid": e.get("pid"), "event": e["event"]} for e in found
        ]

    events = [e for e in read_while(client, goes_on, events) if e.get("pid") == process.pid]
    assert all(set(e) == FIELDS for e in events)
    told = [(e["event"], e["api"], e["kind"], e["size"], e["result"]) for e in events]
    assert told == (
        [("start", None, None, None, None)]
        + [("fail", "cudaMalloc", "device", 4096, OUT_OF_MEMORY)] * 2
        + [("alloc", "cudaMalloc", "device", 4096, None)] * 3
        + [("free", "cudaFree", "device", 4096, None)] * 3
        + [("exit", None, None, None, None)]
    )
    allocated, freed = events[3:6], events[6:9]
    assert [e["ptr"] for e in allocated] == [e["ptr"] for e in freed]
    assert {e["ptr"] for e in allocated} == set(held)
    assert {e["site"] for e in allocated + freed} == {site["id"]}
    assert [e["frame"] for e in allocated + freed] == [site["native"][0]] * 6
    assert all(e["tid"] == process.pid for e in events[1:-1])
    times = [e["time"] for e in events]
    assert times == sorted(times) and begun <= times[0] and times[-1] <= time.time()


def test_frees_of_what_was_never_seen(start_daemon, workload):
    process = workload(LEAK, "--step", "--then-free", "2", "4096")
    process.line()
    step_to(process, "allocated")
    daemon = start_daemon()
    with Connection(daemon.socket) as client:
        events = begin(client, pid=process.pid)
        run_to_end(process, "freed")
        events = read_while(client, lambda _: True, events)
    told = [(e["event"], e["api"], e["kind"], e["size"], e["site"]) for e in events]
    assert told == [("free", "cudaFree", None, None, None)] * 2 + [("exit", *[None] * 4)]
    assert all(e["ptr"].startswith("0x") for e in events[:2])


def test_a_watched_process_ends(daemon, workload):
    process = known_leak(daemon, workload, "2", "1048576")
    other = known_leak(daemon, workload, "1", "4096")
    arguments = [BIN / "srtleakctl", "--socket", daemon.socket, "--no-color", "watch"]
    run = subprocess.Popen(
        [*arguments, str(process.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    titles = run.stdout.readline()
    run_to_end(other, "allocated")
    step_to(process, "allocated")
    count_is(daemon, process.pid, 2)  # frames of a process that has ended have no names
    run_to_end(process)
    rows = run.stdout.read().splitlines()
    assert run.wait(timeout=PATIENCE) == 0 and run.stderr.read() == ""
    assert [r.split()[1:4] for r in rows] == [
        [f"{process.pid}/{process.pid}", "alloc", "device"],
        [f"{process.pid}/{process.pid}", "alloc", "device"],
        [str(process.pid), "exit", "-"],
    ]
    for row in rows[:2]:
        assert "1.0 MiB" in row and "leak!grow_workspace+0x" in row
        assert row.index("leak!") == titles.index("FRAME")
    wait_until(lambda: watchers(daemon) == 0, "nobody watches")


def test_exec_is_an_exit_and_a_start(daemon, workload, client):
    process = known_leak(daemon, workload, "2", "4096", "--exec", "--step", "3", "8192")
    events = begin(client, pid=process.pid)
    step_to(process, "allocated")
    step_to(process, "loaded")
    run_to_end(process, "allocated")
    events = read_while(client, lambda _: True, events)
    assert {e["pid"] for e in events} == {process.pid}
    assert [(e["event"], e["size"]) for e in events] == (
        [("alloc", 4096)] * 2
        + [("exit", None), ("start", None)]
        + [("alloc", 8192)] * 3
        + [("exit", None)]
    )
    assert "parameters" in client.call("io.srtleak.Status"), "the connection goes on"


def test_a_hundred_thousand_events(daemon, workload, tmp_path):
    """As long as fewer wait than there is room for, each is shown, with what the driver knows."""
    blocks, runs = 2500, 20
    for i in range(runs):
        ledger = tmp_path / f"ledger{i}"
        process = known_leak(daemon, workload, "--then-free", "--ledger", ledger, blocks, 4096 + i)
        with Connection(daemon.socket) as client:
            events = begin(client, pid=process.pid)
            step_to(process, "allocated")
            truth = [json.loads(row)["ptr"] for row in ledger.read_text().splitlines()]
            run_to_end(process, "freed")
            events = read_while(client, lambda _: True, events)
        assert count(events) == {"alloc": blocks, "free": blocks, "exit": 1}
        for name in ("alloc", "free"):
            ptrs = [e["ptr"] for e in events if e["event"] == name]
            assert sorted(ptrs) == sorted(truth)
        assert {e["size"] for e in events[:-1]} == {4096 + i}
    assert limit(daemon, "watch_queue")["refused"] == 0


def test_a_burst_is_shown_or_counted(daemon, workload, client):
    blocks = 50_000
    process = known_leak(daemon, workload, "--then-free", blocks, 4096)
    events = begin(client, pid=process.pid)
    run_to_end(process, "allocated", "freed")
    events = read_while(client, lambda _: True, events)
    shown = count(events)
    assert shown["alloc"] + shown["free"] + missing(events) == 2 * blocks
    assert events[-1]["event"] == "exit"


def test_a_stopped_reader_learns_what_it_missed(daemon, workload, tmp_path):
    blocks = 30_000
    process = known_leak(daemon, workload, "--then-free", blocks, 4096)
    output = tmp_path / "events"
    with open(output, "w") as out:
        reader = subprocess.Popen(
            [BIN / "srtleakctl", "--socket", daemon.socket, "--json", "watch", str(process.pid)],
            stdout=out,
        )
    wait_until(lambda: watchers(daemon) == 1, "it watches")
    reader.send_signal(signal.SIGSTOP)
    step_to(process, "allocated")
    step_to(process, "freed")
    wait_until(
        lambda: daemon.process_row(process.pid)["outstanding"]["device"]["count"] == 0,
        "others see all of it",
    )
    queue = limit(daemon, "watch_queue")
    assert queue["limit"] == QUEUE and 0 < queue["used"] <= QUEUE and queue["refused"] > 0
    process.step()
    wait_until(lambda: process.pid not in daemon.pids(), "its end is seen")

    reader.send_signal(signal.SIGCONT)
    assert reader.wait(timeout=PATIENCE) == 0
    events = [json.loads(line) for line in output.read_text().splitlines()]
    shown = count(events)
    assert missing(events) == queue["refused"] >= 2 * blocks - QUEUE - 5000
    assert shown["alloc"] + shown["free"] + missing(events) == 2 * blocks
    assert [e["event"] for e in events[-2:]] == ["dropped", "exit"]
    assert set(events[-2]) == {"time", "event", "count"}


def test_events_lost_before_the_daemon_are_counted(daemon, workload, client):
    blocks = 70_000  # more than the ring holds
    process = known_leak(daemon, workload, blocks, 4096, "--then-free")
    events = begin(client, pid=process.pid)
    lost = 0
    for phase, kind, left in (("allocated", "alloc", blocks), ("freed", "free", 0)):
        daemon.process.send_signal(signal.SIGSTOP)
        step_to(process, phase)
        daemon.process.send_signal(signal.SIGCONT)

        def goes_on(found, kind=kind):
            return count(found)[kind] + missing(found) < blocks

        events = read_while(client, goes_on, events)
        assert count(events)[kind] + missing(events) == blocks
        wait_until(lambda n=left: len(daemon.allocs(process.pid)) == n, "the tables are repaired")
        total = daemon.ctl("status")["events"]["lost"]["ring_full"]
        assert missing(events) > 0 and total > lost
        events, lost = [], total
    run_to_end(process)
    events = read_while(client, lambda _: True)
    assert [e["event"] for e in events] == ["exit"]


def test_who_has_nothing_to_take_is_not_silent(start_daemon, workload):
    """A client that takes nothing of what there is goes after a while; one for which there is
    nothing stays."""
    daemon = start_daemon(binary=SMALL)
    with Connection(daemon.socket) as client:
        one_that_takes_nothing(daemon, workload, client)


def one_that_takes_nothing(daemon, workload, client):
    process = known_leak(daemon, workload, "1", "4096")
    busy = workload(HOARD, "1")
    busy.line()
    wait_until(lambda: busy.pid in daemon.pids(), "it is known")
    events = begin(client, pid=process.pid)
    with Connection(daemon.socket) as stopped:
        begin(stopped, pid=busy.pid)
        since = time.monotonic()
        wait_until(lambda: watchers(daemon) == 1, "the other one is dropped", 2 * SILENCE)
        assert time.monotonic() - since > SILENCE / 2
        busy.kill()
        while stopped.socket.recv(1 << 16):  # what was under way, to its end
            pass
    run_to_end(process, "allocated")
    events = read_while(client, lambda _: True, events)
    assert [e["event"] for e in events] == ["alloc", "exit"]


def test_what_is_refused(daemon, workload, client):
    pid = known_leak(daemon, workload, "1", "4096").pid
    invalid = "org.varlink.service.InvalidParameter"
    for bad in ("1", 0, -1, 1.5, None, 1 << 40, True):
        client.send(WATCH, more=True, pid=bad)
        assert client.receive() == {"error": invalid, "parameters": {"parameter": "pid"}}
    for parameters in ({}, {"pid": pid}):
        reply = client.call(WATCH, **parameters)
        assert reply == {"error": invalid, "parameters": {"parameter": "more"}}
    client.send(WATCH, more=True, pid=1)
    assert client.receive()["error"] == "io.srtleak.NoSuchProcess"
    assert daemon.run("watch", 1).returncode == 5
    assert watchers(daemon) == 0


def test_too_many_watchers(daemon):
    connections = [Connection(daemon.socket) for _ in range(WATCHERS_MAX)]
    for connection in connections:
        begin(connection)
    run = daemon.run("watch")
    assert run.returncode == 1 and "too many" in run.stderr
    entry = limit(daemon, "watchers")
    assert (entry["limit"], entry["used"], entry["refused"]) == (WATCHERS_MAX, WATCHERS_MAX, 1)
    for connection in connections:
        connection.socket.close()
    wait_until(lambda: watchers(daemon) == 0, "those that hung up make room")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_ends(daemon, how):
    reader = subprocess.Popen(
        [BIN / "srtleakctl", "--socket", daemon.socket, "watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    reader.stdout.readline()
    daemon.process.send_signal(how)
    daemon.process.wait(timeout=PATIENCE)
    out, err = reader.communicate(timeout=PATIENCE)
    assert reader.returncode == 3 and "closed the connection" in err, (out, err)


def test_untrack_is_no_exit(daemon, workload, client):
    """The process lives on: the stream about it ends, and nothing is made up."""
    process = known_leak(daemon, workload, "2", "4096")
    events = begin(client, pid=process.pid)
    step_to(process, "allocated")
    assert daemon.run("untrack", process.pid).returncode == 0
    events = read_while(client, lambda _: True, events)
    assert [e["event"] for e in events] == ["alloc"] * 2
