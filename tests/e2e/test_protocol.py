# SPDX-License-Identifier: Apache-2.0
"""The socket against clients of every kind: hasty, slow, silent, malicious, many."""
import collections
import json
import pathlib
import re
import resource
import time

import pytest
from conftest import BUILD, LEAK, wait_until
from wire import Connection

HOARD = BUILD / "workloads" / "hoard"
HOARD_COUNT = 200_000
KEPT_BYTES = 512
REQUEST_MAX = 1 << 20
CLIENTS_MAX = 64
METHOD_NOT_FOUND = "org.varlink.service.MethodNotFound"
INVALID_PARAMETER = "org.varlink.service.InvalidParameter"


@pytest.fixture
def leak(daemon, workload):
    process = workload(LEAK, "--hold", "300", "3", "4096")
    process.line()
    process.line()
    wait_until(lambda: len(daemon.allocs(process.pid)) == 3, "three allocations")
    return process


@pytest.fixture
def client(daemon):
    with Connection(daemon.socket) as connection:
        yield connection


def is_alive(daemon):
    with Connection(daemon.socket) as other:
        return other.call("io.srtleak.Status")["parameters"]["pid"] == daemon.process.pid


def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10


def request(method="io.srtleak.Status", **more):
    return json.dumps({"method": method, **more}).encode() + b"\0"


@pytest.mark.parametrize("count", [2, 8, 9, 100])
def test_pipelined_requests_are_all_answered_in_order(daemon, client, count):
    methods = ["io.srtleak.Status", "io.srtleak.Ps", "io.srtleak.Unknown"]
    sent = [methods[i % 3] for i in range(count)]
    client.send_bytes(b"".join(request(method) for method in sent))
    client.socket.settimeout(5)  # seconds
    for method in sent:
        reply = client.receive()
        if method == methods[0]:
            assert reply["parameters"]["pid"] == daemon.process.pid
        elif method == methods[1]:
            assert isinstance(reply["parameters"]["processes"], list)
        else:
            assert reply["error"] == METHOD_NOT_FOUND


def test_a_request_may_come_in_pieces(daemon, client):
    for byte in request():
        client.send_bytes(bytes([byte]))
    assert client.receive()["parameters"]["pid"] == daemon.process.pid


def test_half_a_request_harms_nobody(daemon, client):
    client.send_bytes(b'{"method":"io.srtleak.Sta')
    assert is_alive(daemon)
    client.socket.close()
    assert is_alive(daemon)


def test_a_request_of_more_than_a_mebibyte_ends_the_connection(daemon, client):
    before = resident_bytes(daemon.process.pid)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(64):
            client.send_bytes(b" " * (REQUEST_MAX // 16))
    assert client.receive() is None
    assert is_alive(daemon)
    assert resident_bytes(daemon.process.pid) < before + (16 << 20)


def test_a_request_of_almost_a_mebibyte_is_answered(daemon, client):
    padding = "x" * (REQUEST_MAX - 200)
    assert "parameters" in client.call("io.srtleak.Status", padding=padding)


NONSENSE = [
    b"\0", b"nonsense\0", b"[]\0", b"null\0", b'"io.srtleak.Ps"\0', b"{}\0", b'{"method":1}\0',
    b'{"method":"io.srtleak.Ps","parameters":[]}\0', b'{"method":"io.srtleak.Ps"} extra\0',
    b'{"method":"io.srtleak.Ps","method":"io.srtleak.Ps"}\0', b'{"method":"\xff"}\0',
    b"[" * 500_000 + b"\0", b'{"a":' * 100_000 + b"\0",
    b'{"method":"io.srtleak.Ps","parameters":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001 + b"\0",
]  # fmt: skip


def test_nonsense_is_answered_with_an_error(client):
    for data in NONSENSE:
        client.send_bytes(data)
        assert client.receive()["error"] == INVALID_PARAMETER
        assert "parameters" in client.call("io.srtleak.Status"), data[:24]


def test_unknown_methods_are_named(client):
    reply = client.call("io.srtleak.Bogus")
    assert reply == {"error": METHOD_NOT_FOUND, "parameters": {"method": "io.srtleak.Bogus"}}


BAD_PARAMETERS = [
    ("Sites", "pid", {}), ("Sites", "pid", {"pid": "1"}), ("Sites", "pid", {"pid": 0}),
    ("Sites", "pid", {"pid": -1}), ("Sites", "pid", {"pid": 1 << 40}),
    ("Sites", "pid", {"pid": 1.5}), ("Sites", "pid", {"pid": True}),
    ("Sites", "limit", {"limit": -1}), ("Sites", "limit", {"limit": "1"}),
    ("Sites", "kind", {"kind": "rubber"}), ("Sites", "kind", {"kind": 1}),
    ("Sites", "sort", {"sort": "luck"}), ("Sites", "sort", {"sort": None}),
    ("Allocs", "site", {"site": "123"}), ("Allocs", "site", {"site": 1}),
    ("Allocs", "site", {"site": "0123456789ABCDEF"}), ("Allocs", "limit", {"limit": 1.0}),
    ("Allocs", "older_than", {"older_than": -1}), ("Allocs", "older_than", {"older_than": "1"}),
    ("Allocs", "older_than", {"older_than": 1e300}),
]  # fmt: skip


def test_bad_parameters_are_named(client, leak):
    for method, parameter, parameters in BAD_PARAMETERS:
        if parameter != "pid":
            parameters = {"pid": leak.pid, **parameters}
        reply = client.call("io.srtleak." + method, **parameters)
        assert reply == {"error": INVALID_PARAMETER, "parameters": {"parameter": parameter}}


def test_an_unknown_process_is_named(client):
    reply = client.call("io.srtleak.Sites", pid=1)
    assert reply["error"] == "io.srtleak.NoSuchProcess"


def test_too_many_connections_are_told_so(daemon):
    connections = [Connection(daemon.socket) for _ in range(100)]
    answered, refused = 0, 0
    for connection in connections:
        try:
            connection.send("io.srtleak.Status")
        except BrokenPipeError:
            pass  # told so already, and hung up
        reply = connection.receive()
        answered += "error" not in reply
        refused += reply.get("error") == "io.srtleak.Overloaded"
    assert (answered, refused) == (CLIENTS_MAX, 100 - CLIENTS_MAX)
    run = daemon.run("ps")
    assert run.returncode == 1 and "too many" in run.stderr
    for connection in connections:
        connection.socket.close()
    wait_until(lambda: daemon.run("ps").returncode == 0, "there is room again")


def test_connections_that_come_and_go_leave_nothing(daemon):
    def descriptors():
        return len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))

    assert is_alive(daemon)
    before = descriptors()
    for i in range(500):
        with Connection(daemon.socket) as connection:
            connection.send_bytes(request()[: i % 30])
    wait_until(lambda: descriptors() <= before, "all descriptors are closed")
    assert is_alive(daemon)


def voluntary_waits(pid):
    """How often the main thread had nothing to do."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])


def test_without_descriptors_clients_wait(daemon, client):
    """The daemon does not turn in circles meanwhile, and goes on when there are descriptors again."""
    assert "parameters" in client.call("io.srtleak.Status")
    pid = daemon.process.pid
    used = {int(fd.name) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    highest = max(used)
    gaps = highest + 1 - len(used)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    waiting = [Connection(daemon.socket) for _ in range(gaps + 10)]
    for connection in waiting:
        connection.send("io.srtleak.Status")
    wait_until(lambda: "Too many open files" in daemon.log(), "it is said")
    seen = voluntary_waits(pid)
    wait_until(lambda: voluntary_waits(pid) > seen + 30, "it sleeps in between, for seconds")
    assert "parameters" in client.call("io.srtleak.Ps"), "others are served"
    assert daemon.log().count("Too many open files") == 1

    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for connection in waiting:
        assert connection.receive()["parameters"]["pid"] == pid
        connection.socket.close()


# Large answers.


@pytest.fixture
def hoard(daemon, workload):
    process = workload(HOARD, HOARD_COUNT)
    process.line()

    def count():
        row = daemon.process_row(process.pid)
        return row and row["outstanding"]["device"]["count"] >= HOARD_COUNT

    wait_until(count, "all blocks are known")
    return process


def test_a_stream_holds_each_lasting_allocation_once(daemon, hoard, client):
    """The table changes all the time while it is told."""
    found = client.stream("io.srtleak.Allocs", "allocations", pid=hoard.pid, limit=0)
    times = collections.Counter(a["ptr"] for a in found if a["size"] == KEPT_BYTES)
    assert len(times) == HOARD_COUNT
    assert set(times.values()) == {1}


def test_the_client_streams_it_too(daemon, hoard):
    found = daemon.allocs(hoard.pid)
    assert len({a["ptr"] for a in found if a["size"] == KEPT_BYTES}) == HOARD_COUNT


def test_clients_that_never_read_delay_no_one(daemon, hoard):
    before = resident_bytes(daemon.process.pid)
    silent = [Connection(daemon.socket) for _ in range(20)]
    for connection in silent:
        for _ in range(5):
            connection.send("io.srtleak.Allocs", more=True, pid=hoard.pid, limit=0)
    slowest = 0.0
    for _ in range(20):
        start = time.monotonic()
        assert is_alive(daemon)
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 1.0
    assert resident_bytes(daemon.process.pid) - before < 20 << 20, "bounded memory per client"
    reader = silent[0]
    message = reader.receive()
    assert message["continues"] and message["parameters"]["pid"] == hoard.pid
    for connection in silent:
        connection.socket.close()
    assert is_alive(daemon)
