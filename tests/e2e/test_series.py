# SPDX-License-Identifier: Apache-2.0
"""Which series there are when there is more to tell than there is room, and for whom."""
import contextlib
import os
import pathlib
import socket

import pytest
from conftest import BUILD, LEAK, PATIENCE, wait_until
from wire import http, parse_metrics, select

CROWD = BUILD / "workloads" / "crowd"
SITES_LISTED = 10


def metrics(daemon):
    return parse_metrics(http(daemon.port).text)


def start_crowd(daemon, workload, processes, allocations, sites):
    children = workload(CROWD, processes, allocations, sites).line()["children"]
    wait_until(
        lambda: sum(
            p["outstanding"]["device"]["count"]
            for p in daemon.ctl("ps")["processes"]
            if p["pid"] in children
        )
        == processes * allocations,
        "all allocations of the crowd",
    )
    return children


def listed_sites(daemon, pid):
    return {
        labels["site"]: value
        for labels, value in select(metrics(daemon), "srtleak_site_outstanding_bytes", pid=str(pid))
    }


def test_the_largest_sites_are_listed(daemon, workload):
    (pid,) = start_crowd(daemon, workload, 1, 40, 20)
    largest = daemon.ctl("sites", pid, "--limit", SITES_LISTED)["sites"]
    assert [s["bytes"] for s in largest] == [1024 * i for i in range(20, 10, -1)]
    assert listed_sites(daemon, pid) == {s["id"]: s["bytes"] for s in largest}


def test_a_site_stays_listed_when_it_holds_nothing_any_more(daemon, workload):
    process = workload(LEAK, "--then-free", "--step", "--hold", "300", "3", "4096")
    process.line()
    process.step()
    process.line()
    wait_until(lambda: list(listed_sites(daemon, process.pid).values()) == [3 * 4096], "the site")
    process.step()
    process.line()
    wait_until(lambda: list(listed_sites(daemon, process.pid).values()) == [0], "nothing held")


def sums(daemon, name):
    """A metric's sum over the processes of their own, and what is summed as the others'."""
    found = select(metrics(daemon), name, kind="device")
    own = {labels["pid"]: value for labels, value in found if labels["pid"] != "other"}
    return own, sum(value for labels, value in found if labels["pid"] == "other")


@pytest.mark.parametrize("max_series", [100, 300])
def test_no_more_series_than_allowed(start_daemon, workload, max_series):
    daemon = start_daemon("--max-series", str(max_series))
    large = workload(LEAK, "--hold", "300", "3", "1048576")
    large.line()
    large.line()
    start_crowd(daemon, workload, 60, 20, 4)
    samples = metrics(daemon)
    ((_, dropped),) = select(samples, "srtleak_series_dropped")
    assert dropped > 60
    assert len(samples) <= max_series
    assert {labels["pid"] for labels, _ in select(samples, "srtleak_process_info")} == {
        labels["pid"] for labels, _ in select(samples, "srtleak_process_start_time_seconds")
    }  # the sum is not a process
    own, _ = sums(daemon, "srtleak_outstanding_bytes")
    assert str(large.pid) in own  # those that hold most come first
    assert len(own) < 60

    def nothing_is_lost(name, field):
        # Processes of others on this host come and go between the two looks.
        of_own, of_others = sums(daemon, name)
        usages = [p["outstanding"]["device"] for p in daemon.ctl("ps")["processes"]]
        rows = [usage[field] for usage in usages if usage]
        return sum(of_own.values()) + of_others == sum(rows)

    for name, field in (
        ("srtleak_outstanding_bytes", "bytes"),
        ("srtleak_outstanding_allocations", "count"),
    ):
        wait_until(lambda n=name, f=field: nothing_is_lost(n, f), f"{name} of all processes")


def test_nothing_is_summed_while_there_is_room(daemon, workload):
    start_crowd(daemon, workload, 60, 20, 4)
    samples = metrics(daemon)
    assert select(samples, "srtleak_series_dropped") == [({}, 0)]
    assert not [k for k in samples if ("pid", "other") in k[1]]


def resident(daemon):
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def ask_and_not_read(port):
    """Asks for the metrics with buffers so small that the daemon keeps nearly all of its answer."""
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def test_who_does_not_read_costs_bounded_memory(start_daemon, workload, monkeypatch):
    # AddressSanitizer keeps what was freed, megabytes of it, unless it is told not to.
    options = os.environ.get("ASAN_OPTIONS", "")
    monkeypatch.setenv("ASAN_OPTIONS", f"{options}:quarantine_size_mb=0".lstrip(":"))
    daemon = start_daemon("--max-series", "100000")
    start_crowd(daemon, workload, 300, 20, 20)
    size = len(http(daemon.port).body)
    assert size > 500_000
    before = resident(daemon)
    with contextlib.ExitStack() as stack:
        stuck = [stack.enter_context(ask_and_not_read(daemon.port)) for _ in range(50)]
        answers = [connection.recv(12)[9:] for connection in stuck]
        assert {b"200", b"503"} == set(answers)
        assert answers.count(b"200") >= 10
        assert resident(daemon) - before < (16 << 20) + 6 * size
        assert http(daemon.port, "GET /healthz").status == 200
        assert len(daemon.pids()) >= 300
    wait_until(lambda: http(daemon.port).status == 200, "an answer when they are gone")
