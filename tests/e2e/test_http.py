# SPDX-License-Identifier: Apache-2.0
"""The HTTP port: what it serves, what it refuses, and that its figures are those of the socket."""
import os
import shutil
import socket
import subprocess
import time

import pytest
from conftest import BIN, LEAK, ROOT, need, wait_until
from wire import http, parse_metrics, select

HOSTILE_PROGRAM = ROOT / "tests" / "workloads" / "hostile.py"
PYTHON = "/usr/bin/python3.11"
HTTP_CONNECTIONS = 64 + 64 + 20  # more than stay and are told to go (http.c)
SUMMED = {"device", "managed", "host", "array", "vmm"}


@pytest.fixture
def leak(daemon, workload):
    process = workload(LEAK, "--fail", "2", "--then-free", "--step", "--hold", "300", "3", "4096")
    process.line()
    process.step()
    process.line()
    wait_until(lambda: len(daemon.allocs(process.pid)) == 3, "three allocations")
    return process


def test_values_are_those_of_ps(daemon, leak):
    samples = parse_metrics(http(daemon.port).text)
    row = daemon.process_row(leak.pid)
    pid = str(leak.pid)
    for name, field in (
        ("srtleak_outstanding_bytes", "bytes"),
        ("srtleak_outstanding_allocations", "count"),
    ):
        series = select(samples, name, pid=pid)
        assert {labels["kind"] for labels, _ in series} <= SUMMED
        for labels, value in series:
            assert set(labels) == {"pid", "comm", "container", "device", "kind"}
            assert labels["comm"] == row["comm"] and labels["container"] == (row["container"] or "")
            assert value == row["outstanding"][labels["kind"]][field]
        assert sum(value for _, value in series) == {"bytes": 3 * 4096, "count": 3}[field]


def test_counters_count(daemon, leak):
    pid = str(leak.pid)

    def of(name, **labels):
        series = select(parse_metrics(http(daemon.port).text), name, pid=pid, **labels)
        assert len(series) == 1, (name, series)
        return series[0][1]

    assert of("srtleak_allocations_total", kind="device") == 3
    assert of("srtleak_allocated_bytes_total", kind="device") == 3 * 4096
    assert of("srtleak_frees_total", kind="device") == 0
    assert of("srtleak_allocation_failures_total", api="cudaMalloc") == 2
    leak.step()
    leak.line()
    wait_until(lambda: of("srtleak_frees_total", kind="device") == 3, "the frees")
    assert of("srtleak_freed_bytes_total", kind="device") == 3 * 4096
    assert of("srtleak_outstanding_bytes") == 0


def test_every_family_that_is_due_is_there(daemon, leak):
    samples = parse_metrics(http(daemon.port).text)
    names = {name for name, _ in samples}
    assert names >= {
        "srtleak_events_total", "srtleak_events_lost_total", "srtleak_events_recovered_total",
        "srtleak_probes", "srtleak_build_info", "srtleak_process_start_time_seconds",
        "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds",
    }  # fmt: skip
    ((labels, value),) = select(samples, "srtleak_build_info")
    assert value == 1 and labels == {"version": daemon.ctl("status")["version"]}
    ((_, start),) = select(samples, "srtleak_process_start_time_seconds", pid=str(leak.pid))
    assert abs(start - daemon.process_row(leak.pid)["started_at"]) < 0.02
    states = {labels["state"] for labels, _ in select(samples, "srtleak_probes")}
    assert states <= {"attached", "missing", "skipped", "slow"}
    assert select(samples, "srtleak_probes", state="attached")


def test_a_process_that_ended_has_no_series(daemon, leak):
    leak.kill()
    wait_until(lambda: f'pid="{leak.pid}"' not in http(daemon.port).text, "its series are gone")


def test_promtool_agrees(daemon, leak):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    text = http(daemon.port).text
    run = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_content_type_and_health(daemon):
    metrics = http(daemon.port)
    assert metrics.status == 200
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert metrics.headers["content-length"] == str(len(metrics.body))
    health = http(daemon.port, "GET /healthz")
    assert (health.status, health.text) == (200, "ok\n")


REFUSED = [
    ("GET /", 404), ("GET /metrics/", 404), ("GET /metrics/../etc/passwd", 404),
    ("GET /debug/pprof", 404), ("HEAD /absent", 404), ("POST /metrics", 405), ("PUT /metrics", 405),
    ("DELETE /healthz", 405), ("OPTIONS /metrics", 405), ("BREW /metrics", 405),
]  # fmt: skip


def test_all_else_is_refused(daemon):
    for request_line, status in REFUSED:
        answer = http(daemon.port, request_line)
        assert answer.status == status
        if status == 405:
            assert {m.strip() for m in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_head_has_the_headers_alone(daemon, path):
    head = http(daemon.port, f"HEAD {path}")
    assert head.status == 200 and head.body == b""
    assert int(head.headers["content-length"]) > 0


HOSTS = [
    ("localhost", 200), ("LOCALHOST:9748", 200), ("127.0.0.1", 200), ("127.0.0.1:80", 200),
    ("10.1.2.3", 200), ("[::1]", 200), ("[::1]:9748", 200), ("[fe80::1]:1", 200),
    ("evil.example", 403), ("evil.example:9748", 403), ("localhost.evil.example", 403),
    ("127.0.0.1.evil.example", 403), ("evil.example#127.0.0.1", 403), ("[evil]", 403), ("[", 403),
    ("x" * 300, 403), ("127.0.0.1 evil.example", 403), (None, 403),
]  # fmt: skip


def check_host(port, host, status):
    expected = {status, 400} if host is None else {status}  # HTTP/1.1 demands the header itself
    for path in ("/metrics", "/healthz", "/absent"):
        answer = http(port, f"GET {path}", host)
        found = {404} if path == "/absent" and status == 200 else expected
        assert answer.status in found, (host, path, answer.status)
        assert status == 200 or "srtleak_" not in answer.text


def test_hosts(daemon):
    for host, status in HOSTS:
        check_host(daemon.port, host, status)


def test_hosts_that_only_begin_with_an_address(daemon):
    for host in ("[::1]evil.example", "127.0.0.1:evil.example"):
        check_host(daemon.port, host, 403)


def test_ipv6(start_daemon, tmp_path):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = probe.getsockname()[1]
    start_daemon("--listen", f"[::1]:{port}")
    assert http(port, host=f"[::1]:{port}", address="::1").status == 200


def test_listen_none_opens_no_port(start_daemon):
    daemon = start_daemon("--listen", "none")
    with pytest.raises(ConnectionRefusedError):
        http(daemon.port)
    daemon.ctl("ps")


def test_slow_clients_do_not_block_others(daemon, leak):
    slow = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(30)]
    for i, connection in enumerate(slow):
        if i % 3:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: local"[: 10 * (i % 3)])
    start = time.monotonic()
    for _ in range(10):
        assert http(daemon.port).status == 200
        assert daemon.ctl("ps")["processes"]
    assert time.monotonic() - start < 5
    for connection in slow:
        connection.close()


def test_connections_that_are_kept_busy_shut_nobody_out(daemon):
    """A header line now and then is progress, so the time limit for silence is not met."""
    held = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(HTTP_CONNECTIONS)]
    for _ in range(3):
        for connection in held:
            try:
                connection.sendall(b"GET /metrics HTTP/1.1\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # it had to go
        for _ in range(5):
            assert http(daemon.port).status == 200
    for connection in held:
        connection.close()


def test_oversized_requests_are_refused(daemon):
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as connection:
        try:
            connection.sendall(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " not in connection.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was all read
    assert http(daemon.port, "GET /healthz").status == 200


def test_labels_are_escaped_and_hold_no_command_lines(daemon, workload):
    need(os.path.exists(PYTHON), PYTHON)
    name = 'a\n"\\{},\udcff'
    process = workload(PYTHON, HOSTILE_PROGRAM, name, "--model", "/srv/models/llama", "SECRET1")
    process.line()
    process.step()
    process.line()
    wait_until(lambda: daemon.process_row(process.pid), "it is tracked")
    wait_until(lambda: daemon.allocs(process.pid), "its allocation")
    text = http(daemon.port).text
    ((labels, value),) = select(
        parse_metrics(text), "srtleak_outstanding_bytes", pid=str(process.pid)
    )
    assert labels["comm"] == name.replace("\udcff", "\ufffd") and value == 4096
    for word in ("SECRET1", "/srv/models", "hostile.py", str(ROOT)):
        assert word not in text


def test_the_port_is_taken(daemon, tmp_path):
    run = subprocess.run(
        [BIN / "srtleakd", "--socket", tmp_path / "s.sock", "--listen", f"127.0.0.1:{daemon.port}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode in (1, 7)
    assert f"127.0.0.1:{daemon.port}" in run.stderr and "--listen" in run.stderr
    assert http(daemon.port, "GET /healthz").status == 200
