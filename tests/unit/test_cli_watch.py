# SPDX-License-Identifier: Apache-2.0
"""srtleakctl watch against a server that plays canned replies."""

import json
import re
import signal
import subprocess

import pytest
from fake_daemon import HANG, reply
from test_cli import CTL, ENV, ask, lines, server  # noqa: F401 (a fixture)

TIME = 1790000000.123456
FRAME = {"function": "Cache.insert", "file": "/srv/app/cache.py", "line": 42}
NATIVE = {"module": "libtorch.so", "symbol": "at::empty", "offset": 16}
START = {"time": TIME, "event": "start", "pid": 42, "tid": None, "kind": None, "api": None,
         "ptr": None, "size": None, "site": None, "frame": None, "result": None}
ALLOC = {"time": TIME, "event": "alloc", "pid": 42, "tid": 43, "kind": "device",
         "api": "cudaMalloc", "ptr": "0x7f0123456789", "size": 1536, "site": "0123456789abcdef",
         "frame": FRAME, "result": None}
FAIL = dict(START, event="fail", tid=43, kind="device", api="cudaMalloc", size=1 << 40, result=2)
DROPPED = {"time": TIME, "event": "dropped", "count": 12345}


def events(items, continues=True):
    return reply({"events": items}, continues)


def start(server, script, *args, **kwargs):
    server.script = script
    return subprocess.Popen([CTL, "--socket", server.path, *args], env={**ENV, "TZ": "UTC"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def end(client, signo=signal.SIGINT):
    """Its exit status, and what of its output was not read before."""
    client.send_signal(signo)
    out, err = client.stdout.read(), client.stderr.read()
    return client.wait(timeout=20), out, err


def test_json_is_one_object_a_line(server):
    batches = [[], [START, ALLOC], [], [DROPPED, FAIL]]
    result = ask(server, [*map(events, batches), events([], False)], "--json", "watch", "42")
    assert result.returncode == 0 and result.stderr == b""
    assert [json.loads(line) for line in result.stdout.splitlines()] == sum(batches, [])
    assert f'"time":{TIME},'.encode() in result.stdout, "no noise behind the microseconds"


def test_text(server):
    rows = lines(ask(server, [events([START, ALLOC, dict(ALLOC, event="free", frame=NATIVE)]),
                              events([DROPPED, FAIL], False)], "watch", env={"TZ": "UTC"}))
    assert rows[0].split() == ["TIME", "PID/TID", "EVENT", "KIND", "API", "SIZE", "PTR", "SITE",
                               "FRAME"]
    assert rows[1].split() == ["14:13:20.123456", "42", "start"] + ["-"] * 6
    assert rows[2].split() == ["14:13:20.123456", "42/43", "alloc", "device", "cudaMalloc", "1.5",
                               "KiB", "0x7f0123456789", "0123456789abcdef", "Cache.insert",
                               "cache.py:42"]
    assert rows[3].endswith("libtorch.so!at::empty+0x10")
    assert rows[4] == "    … 12345 events were not shown"
    assert rows[5].split() == ["14:13:20.123456", "42/43", "fail", "device", "cudaMalloc", "1.0",
                               "TiB", "-", "-", "error", "2"]
    for column in ("EVENT", "KIND", "API", "SITE", "FRAME"):
        at = rows[0].index(column)
        assert all(r[at] != " " and r[at - 2:at] == "  " for r in rows if "…" not in r), column


@pytest.mark.parametrize("item", [
    {}, {"event": 7, "pid": "x", "time": "now", "frame": [], "size": {}, "ptr": 1},
    dict(ALLOC, time=-1), dict(ALLOC, time=1e300), dict(ALLOC, frame={}), dict(DROPPED, count="x"),
    dict(ALLOC, frame={"function": "a\x1b[2J\n", "file": "\u202e", "line": "x"}),
    dict(ALLOC, kind="\x1b", api="\n", site="\x07", event="\r"),
])
def test_odd_events(server, item):
    rows = lines(ask(server, [events([item], False)], "watch"))
    assert len(rows) == 2 and not re.search("[\x00-\x1f\x7f\u202e]", "".join(rows))


def test_what_has_come_is_shown_at_once(server):
    client = start(server, [events([]), events([ALLOC]), HANG], "watch", "--json")
    assert json.loads(client.stdout.readline()) == ALLOC
    assert end(client) == (0, "", "")


def test_titles_say_that_it_has_begun(server):
    client = start(server, [events([]), HANG], "watch")
    assert client.stdout.readline().startswith("TIME")
    assert end(client, signal.SIGTERM) == (0, "", "")


def test_silence_is_no_fault_once_it_has_begun(server):
    client = start(server, [events([]), HANG], "watch")
    client.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(timeout=12)  # other requests are given up after 10 s
    assert end(client) == (0, "", "")


def test_silence_before_it_has_begun(server):
    result = ask(server, [HANG], "watch")
    assert result.returncode == 3 and b"10 s" in result.stderr


def test_an_interrupt_leaves_whole_lines(server):
    def talk(connection):
        connection.recv(65536)
        message = json.dumps(events([ALLOC] * 256)).encode() + b"\0"
        while not server.closing.is_set():
            connection.sendall(message)

    server.talk = talk
    client = start(server, [], "watch", "--json")
    for _ in range(1000):
        client.stdout.readline()
    status, out, err = end(client)
    assert (status, err) == (0, "") and out.endswith("}\n")
    assert all(json.loads(line) == ALLOC for line in out.splitlines())


@pytest.mark.parametrize("script, status, needle", [
    ([events([ALLOC])], 3, "closed the connection"),
    ([events([ALLOC]), b'{"par'], 3, "closed the connection"),
    ([], 3, "closed the connection"),
    ([events([ALLOC]), b"x\0"], 1, "malformed"),
    ([events([1])], 1, "malformed"),
    ([reply({"processes": []}, True)], 1, "malformed"),
    ([events([ALLOC]), {"error": "io.srtleak.Overloaded", "parameters": {"reason": "r"}}], 1, "r"),
    ([{"error": "io.srtleak.NoSuchProcess", "parameters": {"pid": "42"}}], 5, "no such process"),
])
def test_end_with_an_error(server, script, status, needle):
    result = ask(server, script, "watch", "42")
    assert result.returncode == status
    assert result.stderr.decode().startswith("srtleakctl: events of process 42: ")
    assert needle in result.stderr.decode()
    result = ask(server, script, "--json", "watch", "42")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == status and result.stderr == b""
    assert rows[-1]["error"]["status"] == status and needle in rows[-1]["error"]["why"]
    assert rows[:-1] == ([ALLOC] if script[:1] == [events([ALLOC])] else [])


def test_nobody_reads_any_more(server):
    """Also while nothing happens, so that no watcher is left behind `watch | head`."""
    client = start(server, [events([]), HANG], "watch")
    client.stdout.readline()
    client.stdout.close()
    assert client.wait(timeout=20) == 0 and client.stderr.read() == ""


def test_nobody_reads_what_comes(server):
    message = json.dumps(events([ALLOC] * 256)).encode() + b"\0"
    client = start(server, [events([]), *[message] * 100, HANG], "watch")
    client.stdout.readline()
    client.stdout.close()
    assert client.wait(timeout=20) in (0, -signal.SIGPIPE) and client.stderr.read() == ""


def test_full_output_device(server):
    server.script = [events([ALLOC]), HANG]
    with open("/dev/full", "w") as full:
        result = subprocess.run([CTL, "--socket", server.path, "watch"], stdout=full,
                                stderr=subprocess.PIPE, env=ENV, timeout=20)
    assert result.returncode == 1 and b"No space left" in result.stderr
