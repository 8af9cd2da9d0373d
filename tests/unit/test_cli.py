# SPDX-License-Identifier: Apache-2.0
"""srtleakctl against a server that plays canned replies: no daemon, no privileges, no BPF."""

import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import time

import pytest
from fake_daemon import HANG, Server, reply

CTL = os.environ.get("SRTLEAKCTL", "build/srtleakctl")
REPLY_MAX = 1 << 22
ENV = {k: v for k, v in os.environ.items() if k not in ("SRTLEAK_SOCKET", "NO_COLOR")}


@pytest.fixture
def server(tmp_path):
    s = Server(tmp_path / "s")
    yield s
    s.close()


def ctl(*args, env=None, timeout=30, **kwargs):
    return subprocess.run([CTL, *map(str, args)], env={**ENV, **(env or {})}, timeout=timeout,
                          capture_output=True, **kwargs)


def ask(server, script, *args, **kwargs):
    server.script = script
    return ctl("--socket", server.path, *args, **kwargs)


def process(pid, **fields):
    return {"pid": pid, "comm": "python3", "title": None, "cmdline": None, "uid": 0,
            "group": pid, "python": "3.11.2", "started_at": time.time() - 192.5,
            "outstanding": {"device": {"bytes": 1 << 20, "count": 1}}, "partial": [], **fields}


SITE = {
    "id": "0123456789abcdef", "kind": "device", "api": "cudaMalloc", "device": 0,
    "bytes": 3 << 29, "count": 12, "oldest_age_s": 192.0, "allocs_total": 12, "frees_total": 0,
    "verdict": None, "growth_bytes_per_s": None,
    "caller": {"module": "libtorch.so", "symbol": "at::empty"},
    "python": [{"function": "PrefixCache.insert", "file": "/srv/app/cache.py", "line": 42},
               {"function": "Server.run", "file": "/srv/app/server.py", "line": 7}],
    "native": [{"module": "libtorch.so", "symbol": "at::empty", "offset": 16}],
    "truncated": False,
}
TOTAL = {"device": {"bytes": 1 << 31, "count": 20}, "host": {"bytes": 0, "count": 0},
         "graph": {"bytes": 0, "count": 3}}


def sites(items, continues=False, **fields):
    return reply({"pid": 42, "total": TOTAL, "partial": [], "sites": items, **fields}, continues)


STATUS = {
    "version": "9.8.7", "pid": 1, "uptime_s": 7500.2, "kernel": "6.18.0", "attach_mode": "multi",
    "access": {"capabilities": ["cap_bpf"]},
    "probes": [{"binary": "/usr/lib/libcudart.so.12", "library": "libcudart.so.12", "attached": 17,
                "missing": ["cudaMallocFromPoolAsync"],
                "skipped": [{"symbol": "cudaFree", "reason": "patched"}], "slow": ["cudaMalloc"]}],
    "events": {"received": 1000, "lost": {"ring_full": 5, "lost_return": 0}, "recovered": 5},
    "late_attach": {"count": 2, "median_ms": 11.5, "max_ms": 20},
    "tables": {"processes": 1, "allocations": 2, "sites": 3, "memory_bytes": 4096, "kernel_bytes": 8192},
    "limits": [{"name": "live", "limit": 100, "used": 2, "refused": 0}],
    "cost": {"alloc_entry": {"runs": 1000, "seconds": 0.0005}},
}


# ---- the command line


@pytest.mark.parametrize("args, needle", [
    ((), "no command"),
    (("nonsense",), "unknown command nonsense"),
    (("site", "1"), "did you mean sites?"),
    (("statsu",), "did you mean status?"),
    (("--bogus", "ps"), "unknown option --bogus"),
    (("ps", "-x"), "unknown option -x"),
    (("ps", "--json=1"), "--json takes no value"),
    (("ps", "7"), "unexpected argument 7"),
    (("ps", "--limit", "7"), "unknown option --limit"),
    (("sites",), "needs the PID"),
    (("sites", "x"), "x is not a process id"),
    (("sites", "0"), "0 is not a process id"),
    (("sites", "99999999999999999999"), "is not a process id"),
    (("sites", "1", "2"), "unexpected argument 2"),
    (("sites", "1", "--kind", "ram"), "--kind ram"),
    (("sites", "1", "--sort", "name"), "--sort name"),
    (("sites", "1", "--limit", "-1"), "--limit -1"),
    (("sites", "1", "--limit"), "--limit needs a value"),
    (("allocs", "1", "--site", "123"), "--site 123"),
    (("allocs", "1", "--older-than", "5"), "--older-than 5"),
    (("allocs", "1", "--older-than", "1.2.3s"), "--older-than 1.2.3s"),
    (("allocs", "1", "--older-than", "s"), "--older-than s"),
    (("track",), "needs the PID"),
    (("untrack", "-1"), "unknown option -1"),
    (("untrack", "1", "--limit", "1"), "unknown option --limit"),
    (("watch", "x"), "x is not a process id"),
    (("watch", "1", "2"), "unexpected argument 2"),
    (("watch", "--limit", "1"), "unknown option --limit"),
])
def test_wrong_usage(args, needle):
    result = ctl(*args)
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 2
    assert lines[0].startswith("srtleakctl: wrong usage: ") and needle in lines[0]
    assert "--help" in lines[1] and len(lines) == 2
    assert result.stdout == b""


def test_wrong_usage_as_json():
    result = ctl("sites", "nope", "--json")
    error = json.loads(result.stdout)["error"]
    assert result.returncode == 2 and result.stderr == b""
    assert set(error) == {"what", "why", "hint", "status"} and error["status"] == 2


def test_help_lists_what_exists():
    result = ctl("--help")
    text = result.stdout.decode()
    assert result.returncode == 0
    commands = re.findall(r"^  ([a-z]+) ", text, re.M)
    assert commands == ["top", "ps", "sites", "allocs", "watch", "track", "untrack", "status", "doctor"]
    for command in commands:
        one = ctl(command, "--help")
        assert one.returncode == 0 and f"srtleakctl {command}" in one.stdout.decode()
    assert ctl("--version").stdout.startswith(b"srtleakctl ")


def test_full_output_device():
    with open("/dev/full", "w") as full:
        result = subprocess.run([CTL, "--help"], stdout=full, stderr=subprocess.PIPE, env=ENV)
    assert result.returncode == 1 and b"No space left" in result.stderr


# ---- reaching the daemon


def test_no_socket(tmp_path):
    result = ctl("--socket", tmp_path / "none", "ps")
    assert result.returncode == 3
    assert re.match(r"srtleakctl: daemon at .*/none: not running.*\n.*srtleakd, as root"
                    r".*--socket", result.stderr.decode())


def test_nobody_listens(tmp_path):
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    result = ctl("--json", "--socket", path, "ps")
    assert result.returncode == 3
    assert json.loads(result.stdout)["error"]["status"] == 3


@pytest.mark.skipif(os.getuid() != 0, reason="gives up root to be refused")
def test_permission_denied(tmp_path_factory):
    path = tmp_path_factory.mktemp("locked") / "s"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen()
        os.chmod(path, 0o600)
        for parent in list(path.parents)[:3]:
            if str(parent).startswith("/tmp/"):
                os.chmod(parent, 0o755)
        # The program may lie in a directory that nobody else can enter: open it before.
        fd = os.open(CTL, os.O_RDONLY)
        result = subprocess.run([f"/proc/self/fd/{fd}", "--socket", str(path), "ps"], env=ENV,
                                capture_output=True, user=65534, group=65534, extra_groups=[],
                                pass_fds=[fd])
        os.close(fd)
    assert result.returncode == 4 and b"group srtleak" in result.stderr


def test_path_too_long():
    result = ctl("--socket", "/tmp/" + "x" * 200, "ps")
    assert result.returncode == 2


def test_socket_from_environment(server):
    server.script = [reply({"processes": []})]
    assert ctl("ps", env={"SRTLEAK_SOCKET": server.path}).returncode == 0
    assert ctl("--socket", server.path, "ps",
               env={"SRTLEAK_SOCKET": "/nowhere"}).returncode == 0


# ---- requests


@pytest.mark.parametrize("args, method, parameters", [
    (("ps",), "Ps", None),
    (("status",), "Status", None),
    (("sites", 42), "Sites", {"pid": 42, "limit": 20}),
    (("sites", "--kind", "host", 42, "--sort=age", "--limit", 0), "Sites",
     {"pid": 42, "kind": "host", "sort": "age", "limit": 0}),
    (("allocs", 42), "Allocs", {"pid": 42, "limit": 100}),
    (("allocs", 42, "--older-than", "90s", "--site", "00000000deadbeef"), "Allocs",
     {"pid": 42, "older_than": 90.0, "site": "00000000deadbeef", "limit": 100}),
    (("allocs", "--older-than", "10m", 42), "Allocs",
     {"pid": 42, "older_than": 600.0, "limit": 100}),
    (("allocs", "--older-than", "2h", "--limit", "5", 42), "Allocs",
     {"pid": 42, "older_than": 7200.0, "limit": 5}),
    (("allocs", "--older-than", "1.5d", 42), "Allocs",
     {"pid": 42, "older_than": 129600.0, "limit": 100}),
    (("track", 42), "Track", {"pid": 42}),
    (("untrack", 42), "Untrack", {"pid": 42}),
    (("watch",), "Watch", None),
    (("watch", 42), "Watch", {"pid": 42}),
])
def test_request(server, args, method, parameters):
    ask(server, [{"error": "io.srtleak.Overloaded", "parameters": {}}], *args)
    request = server.requests[0]
    assert request["method"] == "io.srtleak." + method
    assert request.get("parameters") == parameters
    assert request.get("more", False) == (method in ("Ps", "Sites", "Allocs", "Watch"))


# ---- failures of the daemon


@pytest.mark.parametrize("name, parameters, status, needle", [
    ("io.srtleak.NoSuchProcess", {"pid": 42}, 5, "no such process"),
    ("io.srtleak.PermissionDenied", {"reason": "not in group"}, 4, "not in group"),
    ("io.srtleak.Overloaded", {"reason": "too many clients"}, 1, "too many clients"),
    ("org.varlink.service.MethodNotFound", {"method": "io.srtleak.Ps"}, 1, "io.srtleak.Ps"),
    ("org.varlink.service.InvalidParameter", {"parameter": "limit"}, 2, "limit"),
    ("com.example.\x1b[2JWeird", None, 1, r"\x1b[2JWeird"),
    (17, [], 1, "unnamed"),
])
def test_error_reply(server, name, parameters, status, needle):
    script = [{"error": name, "parameters": parameters}]
    result = ask(server, script, "sites", 42)
    assert result.returncode == status
    assert result.stderr.decode().startswith("srtleakctl: call sites of process 42: ")
    assert needle in result.stderr.decode() and b"\x1b" not in result.stderr
    result = ask(server, script, "--json", "sites", 42)
    error = json.loads(result.stdout)["error"]
    assert result.returncode == status and error["status"] == status and result.stderr == b""
    assert needle in error["why"]


MALFORMED = {
    "not JSON": b"hello\0",
    "empty": b"\0",
    "an array": b"[]\0",
    "no parameters": b"{}\0",
    "parameters are none": b'{"parameters":[]}\0',
    "no array": b'{"parameters":{"processes":{}}}\0',
    "items are none": b'{"parameters":{"processes":[1,"x",null]}}\0',
    "duplicate keys": b'{"parameters":{"processes":[],"processes":[]}}\0',
    "not UTF-8": b'{"parameters":{"processes":[{"comm":"\xff\xfe"}]}}\0',
    "lone surrogate": b'{"parameters":{"processes":[{"comm":"\\ud800"}]}}\0',
    "NUL in a string": b'{"parameters":{"processes":[{"comm":"\\u0000"}]}}\0',
    "deep": b"[" * 100000 + b"\0",
    "deep objects": b'{"parameters":{"processes":[' + b'{"a":' * 50000 + b"\0",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(server, name):
    for mode in ([], ["--json"]):
        result = ask(server, [MALFORMED[name]], *mode, "ps")
        assert result.returncode == 1, result
        if mode:
            assert json.loads(result.stdout)["error"]["status"] == 1
        else:
            assert b"malformed" in result.stderr and result.stdout == b""


@pytest.mark.parametrize("script, status", [
    ([], 3),
    ([b'{"parameters":{"proc'], 3),
    ([reply({"processes": [process(1)]}, True)], 3),
    ([reply({"processes": [process(1)]}, True), b'{"par'], 3),
    ([reply({"processes": [process(1)]}, True), b"x\0"], 1),
    ([reply({"processes": [process(1)]}, True),
      {"error": "io.srtleak.Overloaded", "parameters": {}}], 1),
])
def test_end_in_the_middle(server, script, status):
    result = ask(server, script, "ps")
    assert result.returncode == status
    assert result.stdout == b"" and result.stderr.startswith(b"srtleakctl: ")
    result = ask(server, script, "ps", "--json")
    assert result.returncode == status
    if not script or isinstance(script[0], bytes):
        assert json.loads(result.stdout)["error"]["status"] == status
    else:
        with pytest.raises(ValueError):
            json.loads(result.stdout)
        assert json.loads(result.stdout.splitlines()[-1])["error"]["status"] == status


def test_oversized(server):
    result = ask(server, [b"[" + b" " * (REPLY_MAX + 1)], "ps")
    assert result.returncode == 1 and b"longer than" in result.stderr
    result = ask(server, [b" " * (REPLY_MAX - 20) + b'{"parameters":{"processes":[]}}\0'], "ps")
    assert result.returncode == 1 and b"longer than" in result.stderr


def test_as_large_as_allowed(server):
    head = b'{"parameters":{"processes":[]'
    text = head + b" " * (REPLY_MAX - 1 - len(head) - 2) + b"}}"
    result = ask(server, [text + b"\0"], "--json", "ps")
    assert result.returncode == 0 and json.loads(result.stdout) == {"processes": []}


def test_silence(server):
    start = time.monotonic()
    result = ask(server, [HANG], "ps")
    assert result.returncode == 3 and b"10 s" in result.stderr
    assert 9 < time.monotonic() - start < 20


def test_drip(server):
    """A byte now and then does not prolong the wait."""
    def talk(connection):
        connection.recv(65536)
        while not server.closing.wait(0.5):
            connection.sendall(b" ")

    server.talk = talk
    start = time.monotonic()
    result = ctl("--socket", server.path, "ps")
    assert result.returncode == 3 and time.monotonic() - start < 20


def test_hangs_up_without_reading(server):
    server.talk = lambda connection: None
    assert ctl("--socket", server.path, "ps").returncode == 3


# ---- JSON


def test_json_is_merged(server):
    batches = [sites([dict(SITE, count=i)], True) for i in range(3)]
    rest = [reply({"sites": []}, True), reply({"sites": [dict(SITE, count=3)]})]
    result = ask(server, batches[:1] + [reply({"sites": b["parameters"]["sites"]}, True)
                                        for b in batches[1:]] + rest, "--json", "sites", 42)
    merged = json.loads(result.stdout)
    assert result.returncode == 0 and result.stdout.count(b"\n") == 1
    assert [s["count"] for s in merged["sites"]] == [0, 1, 2, 3]
    assert merged["pid"] == 42 and merged["total"] == TOTAL and merged["partial"] == []


@pytest.mark.parametrize("parameters", [
    {"processes": []}, {"processes": [process(1)]},
    {"future": {"a": [1.5, None]}, "processes": [], "z\n\"": "ü\u202e\x1b"},
])
def test_json_is_kept(server, parameters):
    result = ask(server, [reply(parameters)], "ps", "--json")
    assert json.loads(result.stdout) == parameters
    assert max(result.stdout) < 0x7f


def test_json_status(server):
    for parameters in (STATUS, {}):
        result = ask(server, [reply(parameters)], "status", "--json")
        assert result.returncode == 0 and json.loads(result.stdout) == parameters


def test_messages_may_be_split_and_joined(server):
    text = b"".join(json.dumps(r).encode() + b"\0" for r in
                    [sites([SITE], True), reply({"sites": [SITE]}, True), reply({"sites": [SITE]})])

    def talk(connection):
        connection.recv(65536)
        for i in range(0, len(text), 7):
            connection.sendall(text[i:i + 7])

    server.talk = talk
    result = ctl("--socket", server.path, "--json", "sites", 42)
    assert len(json.loads(result.stdout)["sites"]) == 3


def test_long_list_needs_no_memory(server):
    """200,000 allocations come through within 64 MiB of address space, in either form."""
    with open(CTL, "rb") as program:
        if b"__asan_init" in program.read():
            pytest.skip("AddressSanitizer reserves terabytes of address space")
    item = {"ptr": "0x7f0000000000", "size": 512, "kind": "device", "api": "cudaMalloc",
            "device": 0, "tid": 7, "age_s": 1.5, "site": "0123456789abcdef", "handle": None}
    more = json.dumps(reply({"allocations": [item] * 256}, True)).encode() + b"\0"
    script = ([reply({"pid": 42, "partial": [], "allocations": []}, True)] + [more] * 782 +
              [reply({"allocations": []})])
    for mode in ([], ["--json"]):
        server.script = script
        result = subprocess.run(["prlimit", "--as=67108864", CTL, "--socket", server.path, *mode,
                                 "allocs", "42", "--limit", "0"], capture_output=True, env=ENV)
        assert result.returncode == 0, result.stderr
        if mode:
            assert len(json.loads(result.stdout)["allocations"]) == 782 * 256
        else:
            assert result.stdout.count(b"\n") == 782 * 256 + 1


# ---- text


def lines(result):
    assert result.returncode == 0, result
    return result.stdout.decode().splitlines()


def test_ps(server):
    rows = lines(ask(server, [
        reply({"processes": [
            process(30, outstanding={"device": {"bytes": 10 << 30, "count": 3}}),
            process(10, comm="sglang", title="sglang::router",
                    outstanding={"host": {"bytes": 1536, "count": 2}})]}, True),
        reply({"processes": [
            process(12, group=10, partial=["late_attach", "lost"],
                    outstanding={"device": {"bytes": 30 << 30, "count": 5}}),
            process(20, python=None, started_at=None, outstanding={})]})], "ps"))
    assert rows[0].split() == ["PID", "GROUP", "AGE", "PYTHON", "TITLE", "DEVICE", "MANAGED",
                               "HOST", "ALLOCS", "PARTIAL"]
    assert [r.split()[0] for r in rows[1:]] == ["12", "10", "30", "20"]
    assert re.search(r"12 +10 +3m1\ds +3\.11\.2 +python3 +30\.0 GiB +- +- +5 +late_attach,lost",
                     rows[1])
    assert "sglang::router" in rows[2] and "1.5 KiB" in rows[2]
    assert rows[4].split() == ["20", "-", "-", "-", "python3", "-", "-", "-", "0", "-"]


def test_nothing_seen_is_not_nothing(server):
    """Where figures may be too low, a zero says no more than that."""
    nothing = {kind: {"bytes": 0, "count": 0} for kind in ("device", "managed", "host")}
    unknown = dict.fromkeys(nothing)
    held = {**nothing, "device": {"bytes": 1 << 20, "count": 1}}
    found = {r.split()[0]: r.split() for r in lines(ask(server, [reply({"processes": [
        process(1, outstanding=nothing, partial=["late_attach"]),
        process(2, outstanding=held, partial=["late_attach"]),
        process(3, outstanding=nothing),
        process(4, outstanding=unknown, partial=["late_attach"])]})], "ps"))}
    assert found["1"][4:] == ["≥0", "B", "≥0", "B", "≥0", "B", "≥0", "late_attach"]
    assert found["4"][4:] == found["1"][4:]
    assert found["2"][4:] == ["1.0", "MiB", "≥0", "B", "≥0", "B", "1", "late_attach"]
    assert found["3"][4:] == ["0", "B", "0", "B", "0", "B", "0", "-"]
    for partial, words in ((["late_attach"], "nothing outstanding that was seen"),
                           ([], "nothing outstanding")):
        rows = lines(ask(server, [reply({
            "pid": 42, "total": nothing, "partial": partial, "sites": []})], "sites", 42))
        assert rows[0] == f"process 42: {words}"
        assert any("before the probes were armed" in row for row in rows) == bool(partial)


def test_ps_of_containers(server):
    rows = lines(ask(server, [reply({"processes": [
        process(7, inner_pid=1, container="3f1c7a9be0d2" + "5" * 52), process(8)]})], "ps"))
    assert rows[0].split()[:4] == ["PID", "INNER", "AGE", "CONTAINER"]
    found = {r.split()[0]: r.split() for r in rows[1:]}
    assert found["7"][1] == "1" and found["7"][3] == "3f1c7a9be0d…"
    assert found["8"][1] == "-" and found["8"][3] == "-"


def test_ps_optional_columns(server):
    rows = lines(ask(server, [reply({"processes": [
        process(1, outstanding={"vmm": {"bytes": 2 << 20, "count": 1},
                                "array": {"bytes": 0, "count": 0}})]})], "ps"))
    assert "VMM" in rows[0] and "ARRAY" not in rows[0] and "GROUP" not in rows[0]
    assert lines(ask(server, [reply({"processes": []})], "ps")) == [
        "No process that uses CUDA is tracked."]


def test_columns_align_by_width(server):
    rows = lines(ask(server, [reply({"processes": [
        process(1, title="模型服务"), process(2, title="e\u0301tat"),
        process(3, title="x" * 100)]})], "ps"))
    at = rows[0].index("DEVICE") + len("DEVICE")
    # Two columns each for the four ideographs, none for the combining accent.
    ends = {r.split()[0]: r.index("1.0 MiB") + len("1.0 MiB") for r in rows[1:]}
    assert ends["1"] == at - 4 and ends["2"] == at + 1 and ends["3"] == at
    assert "x" * 31 + "…" in "\n".join(rows) and "x" * 32 not in "\n".join(rows)


def test_sites(server):
    rows = lines(ask(server, [sites([SITE], partial=["late_attach", "new_reason"])], "sites", 42))
    assert rows[0] == "process 42: device 2.0 GiB (20); beside it graph (3)"
    assert "before the probes were armed" in rows[1] and "late_attach" in rows[1]
    assert rows[2] == "figures may be too low: new_reason"
    at = next(i for i, r in enumerate(rows) if "0123456789abcdef" in r)
    assert rows[at].split() == ["1.5", "GiB", "75.0%", "device", "12", "3m12s", "cudaMalloc", "0",
                                "0123456789abcdef"]
    assert rows[at + 1] == "    PrefixCache.insert  /srv/app/cache.py:42"
    assert rows[at + 2] == "    Server.run          /srv/app/server.py:7"
    assert rows[at + 3] == "    called by libtorch.so!at::empty+0x10"
    assert len(rows) == at + 4


def test_sites_shortens_deep_stacks(server):
    def frames(n):
        return [{"function": f"f{i}", "file": "a.py", "line": i + 1} for i in range(n)]

    for n in (20, 21, 128):
        rows = lines(ask(server, [sites([dict(SITE, python=frames(n), native=[])])], "sites", 42))
        shown = [row.split()[0] for row in rows if "a.py:" in row]
        if n == 20:
            assert shown == [f"f{i}" for i in range(20)]
            continue
        assert shown == [f"f{i}" for i in range(17)] + [f"f{i}" for i in range(n - 3, n)]
        assert f"    … {n - 20} more frames (--json has them all)" in rows


def test_sites_without_python(server):
    rows = lines(ask(server, [sites([dict(SITE, python=[], device=None, truncated=True),
                                     dict(SITE, python=None, native=None, total={})])],
                     "sites", 42))
    assert "    libtorch.so!at::empty+0x10" in rows and "    (the stack goes on)" in rows
    assert "called by" not in " ".join(rows)


def test_sites_growth_and_verdict(server):
    rows = lines(ask(server, [sites([dict(SITE, verdict="leak", growth_bytes_per_s=2097152.0)])],
                     "sites", 42))
    assert "GROWTH" in rows[2] and "2.0 MiB/s" in rows[3] and "leak" in rows[3]


def test_sites_limit_is_told(server):
    assert "--limit 0" in lines(ask(server, [sites([SITE])], "sites", 42, "--limit", 1))[-1]
    assert "--limit 0" not in lines(ask(server, [sites([SITE])], "sites", 42, "--limit", 2))[-1]
    assert "nothing outstanding" in lines(ask(server, [sites([], total={})], "sites", 42))[0]


def test_allocs(server):
    rows = lines(ask(server, [
        reply({"pid": 42, "partial": ["limit"], "allocations": [
            {"ptr": "0x7f12", "size": 1536, "kind": "device", "api": "cudaMalloc", "device": 1,
             "tid": 43, "age_s": 90061, "site": "0123456789abcdef", "handle": None}]}, True),
        reply({"allocations": [
            {"ptr": None, "size": 1023.96 * 1024, "kind": "vmm", "api": "cuMemCreate",
             "device": None, "tid": None, "age_s": None, "site": None, "handle": "0x1"}]})],
        "allocs", 42))
    assert "more allocations than are tracked" in rows[0]
    assert rows[2].split() == ["0x7f12", "1.5", "KiB", "device", "cudaMalloc", "1", "43", "1d01h",
                               "0123456789abcdef"]
    assert rows[3].split() == ["-", "1.0", "MiB", "vmm", "cuMemCreate", "-", "-", "-", "-"]
    rows = lines(ask(server, [reply({"pid": 42, "allocations": []})], "allocs", 42))
    assert rows == ["No outstanding allocation matches."]


def test_status(server):
    text = "\n".join(lines(ask(server, [reply(STATUS)], "status")))
    for pattern in (r"version +9\.8\.7", r"uptime +2h05m", r"attach mode +multi", r"cap_bpf",
                    r"libcudart\.so\.12 +17 +1 +1 +1 +/usr/lib/", r"skipped: cudaFree: patched",
                    r"slow: cudaMalloc", r"lost +5\n", r"5 +events that found the ring buffer full "
                    r"\(ring_full\)", r"recovered +5", r"memory +4\.0 KiB",
                    r"in kernel +8\.0 KiB", r"pinned below nothing: tracking ends",
                    r"armed late +2 libraries, median 11\.5 ms .* at most 20\.0 ms",
                    r"live +2 +100 +0",
                    r"alloc_entry +1000 +0\.001 +500|alloc_entry +1000 +0\.000 +500"):
        assert re.search(pattern, text), pattern
    assert "lost_return" not in text
    lines(ask(server, [reply({})], "status"))


def wrong_types(value):
    """The same shape with every leaf replaced by things of other types."""
    if isinstance(value, dict):
        return [{k: w for k in value} for w in ([], {}, "x", -1, 1e300, None, True)]
    return []


@pytest.mark.parametrize("command, key, item", [
    (("ps",), "processes", process(1)), (("sites", 42), "sites", SITE),
    (("allocs", 42), "allocations", {"ptr": 1, "size": 1, "age_s": 1, "site": 1}),
    (("status",), None, STATUS), (("track", 42), None, {"mapped": True, "partial": ["limit"]}),
])
def test_wrong_types_harm_nothing(server, command, key, item):
    for wrong in wrong_types(item):
        parameters = {key: [wrong], "total": wrong, "partial": wrong} if key else wrong
        assert ask(server, [reply(parameters)], *command).returncode == 0
    if not key:
        for field, value in STATUS.items():
            for wrong in wrong_types(value) or [[], "x"]:
                result = ask(server, [reply({**STATUS, field: wrong})], *command)
                assert result.returncode == 0


HOSTILE = "\x1b]0;own\x07\x1b[2J\r\n\t\x7f\x9b31m\u202egnp\u2066\u200b\ufeff\U000e0041end"
SAFE = (r"\x1b]0;own\x07\x1b[2J\x0d\x0a\x09\x7f\u{9b}31m\u{202e}gnp\u{2066}\u{200b}\u{feff}"
        r"\u{e0041}end")


def test_hostile_strings(server):
    frame = {"function": HOSTILE, "file": HOSTILE, "line": 1}
    native = {"module": HOSTILE, "symbol": HOSTILE, "offset": -1}
    outputs = [
        ask(server, [reply({"processes": [process(1, python=HOSTILE, partial=[HOSTILE])]})], "ps"),
        ask(server, [sites([dict(SITE, python=[frame], api=HOSTILE, caller=native)],
                           partial=[HOSTILE])], "sites", 42),
        ask(server, [sites([dict(SITE, python=[], native=[native])])], "sites", 42),
        ask(server, [reply({"pid": 1, "allocations": [{"ptr": HOSTILE}]})], "allocs", 42),
        ask(server, [reply(dict(STATUS, version=HOSTILE, access={"capabilities": [HOSTILE]},
                                events={"lost": {HOSTILE: 1}}, cost={HOSTILE: {}},
                                probes=[{"skipped": [{"symbol": HOSTILE, "reason": HOSTILE}]}]))],
            "status"),
    ]
    for result in outputs:
        text = "\n".join(lines(result))
        assert SAFE in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066\ufeff]", text)


def test_hostile_arguments():
    result = ctl(b"\xff\x1b[2J".decode(errors="surrogateescape"))
    assert rb"unknown command \xff\x1b[2J" in result.stderr
    result = ctl("--json", b"\xff\x1b".decode(errors="surrogateescape"))
    assert r"\xff\x1b" in json.loads(result.stdout)["error"]["why"]


# ---- terminals


def on_terminal(server, script, columns, *args, env=None):
    server.script = script
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen([CTL, "--socket", server.path, *args], stdout=slave, stderr=slave,
                             env={**ENV, **(env or {})})
    os.close(slave)
    output = b""
    while select.select([master], [], [], 20)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        output += data
    os.close(master)
    assert child.wait(20) == 0
    return output.decode()


def test_colours_only_where_wanted(server):
    script = [sites([SITE])]
    assert "\x1b[" in on_terminal(server, script, 100, "sites", "42")
    assert "\x1b[" not in on_terminal(server, script, 100, "sites", "42", "--no-color")
    assert "\x1b[" not in on_terminal(server, script, 100, "sites", "42", env={"NO_COLOR": "1"})
    assert "\x1b[" not in "\n".join(lines(ask(server, script, "sites", 42)))


@pytest.mark.parametrize("columns", [80, 200])
def test_frames_fit_the_terminal(server, columns):
    path = "/very" * 60 + "/end.py"
    script = [sites([dict(SITE, python=[{"function": "f", "file": path, "line": 12345}],
                          caller={"module": "m", "symbol": "s" * 300})])]
    rows = on_terminal(server, script, columns, "--no-color", "sites", "42").splitlines()
    frame = next(r for r in rows if "end.py" in r)
    assert len(frame) == columns and frame.endswith("/end.py:12345") and "…" in frame
    assert all(len(r) <= columns for r in rows)


# ---- doctor: what it finds depends on the host, how it says it does not


def test_track(server):
    replies = [
        ({"mapped": True, "partial": []}, "Process 42 is tracked.\n"),
        ({"mapped": False, "partial": []}, "from its first call on"),
        ({"mapped": True, "partial": ["late_attach"]}, "figures may be too low"),
    ]
    for fields, needle in replies:
        parameters = {"pid": 42, "tracked": True, **fields}
        result = ask(server, [reply(parameters)], "track", 42)
        assert result.returncode == 0 and needle in result.stdout.decode()
        result = ask(server, [reply(parameters)], "--json", "track", 42)
        assert json.loads(result.stdout) == parameters


def test_untrack(server):
    parameters = {"pid": 42, "tracked": False}
    result = ask(server, [reply(parameters)], "untrack", 42)
    assert result.returncode == 0 and b"not tracked any more" in result.stdout
    assert json.loads(ask(server, [reply(parameters)], "--json", "untrack", 42).stdout) == parameters


def test_who_may_change_things(server):
    denied = [{"error": "io.srtleak.PermissionDenied", "parameters": {"reason": "a reason"}}]
    for command, hint in (("track", True), ("untrack", True), ("sites", False)):
        result = ask(server, denied, command, 42)
        assert result.returncode == 4 and b"a reason" in result.stderr
        assert (b"srtleak-admin" in result.stderr) == hint


def test_doctor(server):
    result = ask(server, [reply(STATUS)], "doctor", "--json", timeout=120)
    checks = json.loads(result.stdout)["checks"]
    assert {c["result"] for c in checks} <= {"ok", "warn", "fail"}
    assert result.returncode == (1 if any(c["result"] == "fail" for c in checks) else 0)
    names = [c["name"] for c in checks]
    assert len(names) == len(set(names))
    assert {"kernel", "btf", "privileges", "bpf_load", "uprobe_multi", "uprobe_perf", "perf_mmap2",
            "ring_buffer", "cuda_libraries", "daemon", "probe_cost"} == set(names)
    for check in checks:
        assert set(check) == {"name", "result", "detail", "hint"} and check["detail"]
        assert check["hint"] or check["result"] != "fail"
    assert "9.8.7" in checks[names.index("daemon")]["detail"]
    text = ask(server, [reply(STATUS)], "doctor", timeout=120).stdout.decode()
    assert all(name in text for name in names)
