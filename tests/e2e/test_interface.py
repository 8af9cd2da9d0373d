# SPDX-License-Identifier: Apache-2.0
"""What scripts rely on: every field of the JSON, exit statuses, who may ask, hostile names."""
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import time

import pytest
from conftest import BIN, LEAK, ROOT, need, wait_until
from wire import http

PYTHON = "/usr/bin/python3.11"
HOSTILE_PROGRAM = ROOT / "tests" / "workloads" / "hostile.py"
NOBODY = 65534
GROUP = 64321  # a number that no group of the machine has
KINDS = ["device", "managed", "host", "array", "vmm", "ipc", "graph"]
NUMBER = (int, float)
NONE = type(None)
USAGE = {"bytes": (int, NONE), "count": int}
PARTIAL = {"late_attach", "patched", "seccomp", "limit", "lost", "file_system", "budget"}

# Fields that interface.md names, with the types that their values may have. A dict is an object
# with these fields, a list is an array of such things, ... stands for any further content.
PS = {
    "pid": int, "comm": str, "title": str, "cmdline": str, "uid": int, "cgroup": (str, NONE),
    "container": (str, NONE), "pod": (str, NONE), "inner_pid": (int, NONE),
    "gpus": (list, NONE), "group": int, "python": (str, NONE),
    "started_at": NUMBER, "attached_at": NUMBER, "outstanding": ..., "allocator": (dict, NONE),
    "host": (dict, NONE), "verdict": (str, NONE), "growth_bytes_per_s": (*NUMBER, NONE),
    "oom_eta_s": (*NUMBER, NONE), "lost_events": int, "partial": [str],
    "probe_share": (*NUMBER, NONE), "step": str,
}  # fmt: skip
SITE = {
    "id": str, "kind": str, "api": str, "device": (int, NONE), "gpu_uuid": (str, NONE),
    "bytes": (int, NONE), "count": int, "oldest_age_s": NUMBER, "allocs_total": int, "frees_total": int, "verdict": (str, NONE),
    "growth_bytes_per_s": (*NUMBER, NONE),
    "caller": {"module": (str, NONE), "symbol": (str, NONE)}, "owner": (str, dict, NONE),
    "python": [{"function": str, "file": (str, NONE), "line": (int, NONE)}],
    "native": [{"module": (str, NONE), "symbol": (str, NONE), "offset": int}], "truncated": bool,
}  # fmt: skip
ALLOCATION = {
    "ptr": (str, NONE), "size": (int, NONE), "kind": str, "api": str, "device": (int, NONE),
    "gpu_uuid": (str, NONE), "tid": int, "age_s": NUMBER, "site": str, "handle": (str, NONE),
}  # fmt: skip
PROBE = {
    "binary": str, "library": str, "attached": int, "missing": [str],
    "skipped": [{"symbol": str, "reason": str}], "slow": [str],
    "one_by_one": (int, NONE),
}  # fmt: skip
COMMANDS = {
    "ps": {"processes": [PS]},
    "sites": {"pid": int, "total": ..., "partial": [str], "sites": [SITE]},
    "allocs": {"pid": int, "partial": [str], "allocations": [ALLOCATION]},
    "status": {
        "version": str, "pid": int, "uptime_s": NUMBER, "kernel": str, "attach_mode": str,
        "access": {"capabilities": [str]}, "probes": [PROBE],
        "events": {"received": int, "lost": ..., "recovered": int},
        "tables": {"processes": int, "allocations": int, "sites": int, "memory_bytes": int},
        "limits": [{"name": str, "limit": int, "used": int, "refused": int}], "cost": ...,
    },
    "doctor": {"checks": [{"name": str, "result": str, "detail": str, "hint": (str, NONE)}]},
}  # fmt: skip


def conform(value, shape, where=""):
    """Fails with the path of the first field that is absent or of another type."""
    if shape is ...:
        return
    if isinstance(shape, dict):
        assert isinstance(value, dict), f"{where} is {value!r}"
        for name, inner in shape.items():
            assert name in value, f"{where}.{name} is absent"
            conform(value[name], inner, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{where} is {value!r}"
        for i, element in enumerate(value):
            conform(element, shape[0], f"{where}[{i}]")
    else:
        allowed = shape if isinstance(shape, tuple) else (shape,)
        assert type(value) in allowed, f"{where} is {value!r}"


@pytest.fixture
def leak(daemon, workload):
    """A process with three blocks, known to the daemon."""
    process = workload(LEAK, "--hold", "300", "3", "4096")
    process.line()
    assert process.line()["phase"] == "allocated"
    wait_until(lambda: len(daemon.allocs(process.pid)) == 3, "three allocations")
    return process


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_every_field(daemon, leak, command):
    operands = [leak.pid] if command in ("sites", "allocs") else []
    run = daemon.run("--json", command, *operands)
    assert run.returncode in ((0, 1) if command == "doctor" else (0,)), run.stderr
    assert run.stderr == ""
    answer = json.loads(run.stdout)
    conform(answer, COMMANDS[command], command)


def test_json_values_are_what_the_interface_says(daemon, leak):
    row = daemon.process_row(leak.pid)
    assert set(KINDS) <= set(row["outstanding"])
    for usage in row["outstanding"].values():
        if usage is not None:
            conform(usage, USAGE, "outstanding")
    assert row["outstanding"]["device"] == {"bytes": 3 * 4096, "count": 3}
    assert row["outstanding"].get("tensor") is None, "not tracked is null, never a made-up zero"
    assert row["uid"] == os.getuid() and row["comm"] == "leak" and row["python"] is None
    assert set(row["partial"]) <= PARTIAL
    assert abs(row["started_at"] - time.time()) < 60
    assert row["started_at"] - 1 <= row["attached_at"] <= time.time()

    sites = daemon.ctl("sites", leak.pid)
    assert sites["pid"] == leak.pid
    assert sites["total"]["device"] == {"bytes": 3 * 4096, "count": 3}
    for site in sites["sites"]:
        assert re.fullmatch("[0-9a-f]{16}", site["id"]) and site["kind"] in KINDS
    allocations = daemon.allocs(leak.pid)
    for one in allocations:
        assert re.fullmatch("0x[0-9a-f]+", one["ptr"]) and one["size"] == 4096
        assert one["kind"] == "device" and one["api"] == "cudaMalloc"
        assert one["site"] in {s["id"] for s in sites["sites"]}
        assert one["tid"] == leak.pid and 0 <= one["age_s"] < 60
    status = daemon.ctl("status")
    assert status["pid"] == daemon.process.pid and status["kernel"] == os.uname().release
    assert status["attach_mode"] in ("multi", "perf")
    assert status["tables"]["allocations"] >= 3 and status["events"]["received"] >= 3
    assert all(type(n) is int for n in status["events"]["lost"].values())


def test_options_narrow_the_answers(daemon, leak):
    allocations = daemon.ctl("allocs", leak.pid, "--limit", "2")["allocations"]
    assert len(allocations) == 2
    assert allocations[0]["age_s"] >= allocations[1]["age_s"], "the oldest first"
    site = allocations[0]["site"]
    assert len(daemon.ctl("allocs", leak.pid, "--site", site)["allocations"]) == 3
    other = f"{int(site, 16) ^ 1:016x}"
    assert daemon.ctl("allocs", leak.pid, "--site", other)["allocations"] == []
    assert daemon.ctl("allocs", leak.pid, "--older-than", "1h")["allocations"] == []
    assert len(daemon.ctl("allocs", leak.pid, "--older-than", "0s")["allocations"]) == 3
    assert daemon.ctl("sites", leak.pid, "--kind", "host")["sites"] == []
    assert len(daemon.ctl("sites", leak.pid, "--kind", "device")["sites"]) == 1


STATUSES = [
    (["sites", "4194303"], 5),
    (["allocs", "1"], 5),
    (["sites"], 2),
    (["sites", "one"], 2),
    (["sites", "-1"], 2),
    (["allocs", "1", "--limit", "-1"], 2),
    (["allocs", "1", "--site", "xyz"], 2),
    (["allocs", "1", "--older-than", "soon"], 2),
    (["sites", "1", "--kind", "rubber"], 2),
    (["sites", "1", "--sort", "luck"], 2),
    (["ps", "stray"], 2),
    (["bogus"], 2),
    ([], 2),
    (["--bogus", "ps"], 2),
]


def test_exit_statuses(daemon):
    for arguments, status in STATUSES:
        plain = daemon.run(*arguments)
        assert plain.returncode == status and plain.stdout == ""
        lines = plain.stderr.splitlines()
        assert 1 <= len(lines) <= 2, "what failed, and perhaps what to do"
        assert re.fullmatch(r"srtleakctl: [^:]+: .+", lines[0])
        in_json = daemon.run("--json", *arguments)
        assert in_json.returncode == status and in_json.stderr == ""
        error = json.loads(in_json.stdout)["error"]
        conform(error, {"what": str, "why": str, "hint": (str, NONE), "status": int}, "error")
        assert error["status"] == status


def test_a_process_that_ended_is_gone(daemon, leak):
    leak.kill()
    wait_until(lambda: daemon.run("sites", leak.pid).returncode == 5, "its end is noticed")
    assert daemon.run("allocs", leak.pid).returncode == 5
    assert leak.pid not in daemon.pids()


def test_unreachable_is_3(daemon, tmp_path):
    def status(path):
        run = subprocess.run([BIN / "srtleakctl", "--socket", path, "ps"], capture_output=True)
        return run.returncode

    assert status(tmp_path / "absent.sock") == 3
    assert daemon.stop() == 0
    assert status(daemon.socket) == 3
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    assert status(tmp_path / "dead.sock") == 3


def test_socket_from_the_environment(daemon, leak):
    environment = {**os.environ, "SRTLEAK_SOCKET": daemon.socket}
    run = subprocess.run(
        [BIN / "srtleakctl", "--json", "ps"], env=environment, capture_output=True, check=True
    )
    assert leak.pid in [p["pid"] for p in json.loads(run.stdout)["processes"]]


# Who may ask.


def ask_as(directory, path, *who):
    return subprocess.run(
        ["setpriv", *who, directory / "srtleakctl", "--socket", path, "ps"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


STRANGER = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]


def test_strangers_are_not_admitted(open_directory, start_daemon):
    daemon = start_daemon(directory=open_directory)
    run = ask_as(open_directory, daemon.socket, *STRANGER)
    assert run.returncode == 4 and run.stderr.startswith("srtleakctl: ")
    os.chmod(daemon.socket, 0o666)  # the mode is not all that keeps them out
    run = ask_as(open_directory, daemon.socket, *STRANGER)
    assert run.returncode == 4 and run.stdout == ""
    assert ask_as(open_directory, daemon.socket, "--reuid", "0").returncode == 0


def with_group(directory):
    """Runs a program with an /etc/group that has the group, without a change to the machine's."""
    path = directory / "group"
    path.write_text(pathlib.Path("/etc/group").read_text() + f"srtleak:x:{GROUP}:\n")
    script = 'mount --bind "$0" /etc/group && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(path)]


def test_members_of_the_group_are_admitted(open_directory, start_daemon):
    need("srtleak:" not in pathlib.Path("/etc/group").read_text(), "no group srtleak as yet")
    daemon = start_daemon(directory=open_directory, wrapper=with_group(open_directory))
    mode = os.stat(daemon.socket)
    assert stat.S_IMODE(mode.st_mode) == 0o660 and mode.st_gid == GROUP
    by_user = ["--reuid", str(NOBODY), "--regid"]
    for who in ([str(GROUP), "--clear-groups"], [str(NOBODY), "--groups", str(GROUP)]):
        run = ask_as(open_directory, daemon.socket, *by_user, *who)
        assert run.returncode == 0, run.stderr
    assert ask_as(open_directory, daemon.socket, *STRANGER).returncode == 4


# Names that others choose.

HOSTILE = "a\n\x1b[31m\"\\{}=\t\x7f\udcff"
SECRETS = [
    "--api-key=SECRET1", "--token", "SECRET2", "--url", "https://user:SECRET3@example.org/x",
    "HF_TOKEN=SECRET4", '{"password": "SECRET5"}', "--password", "SECRET6",
]  # fmt: skip
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def hostile(daemon, workload, private_libraries):
    """A process whose names are all bad, and that has its libraries in a folder with a bad name."""
    need(os.path.exists(PYTHON), PYTHON)
    libraries = private_libraries("lib" + HOSTILE)
    process = workload(PYTHON, HOSTILE_PROGRAM, HOSTILE, *SECRETS, SIMCUDA_DIR=str(libraries))
    process.line()
    wait_until(lambda: (daemon.process_row(process.pid) or {}).get("python"), "it is known")
    process.step()
    process.line()
    wait_until(lambda: daemon.allocs(process.pid), "its allocation")
    return process


def test_hostile_names_do_no_harm_in_json(daemon, hostile):
    clean = HOSTILE.replace("\udcff", "\ufffd")
    row = daemon.process_row(hostile.pid)
    assert row["comm"] == clean[:15]
    assert HOSTILE[:6] in row["cmdline"]
    (site,) = daemon.ctl("sites", hostile.pid)["sites"]
    frame = site["python"][0]
    assert frame["function"] == clean and frame["file"] == "/tmp/" + clean
    for command in ("ps", "status"):
        text = daemon.run("--json", command).stdout
        assert text.count("\n") == 1 and not re.search("[\0-\x09\x0b-\x1f]", text), command
    assert any("lib" + HOSTILE[0] in p["binary"] for p in daemon.ctl("status")["probes"])


def test_hostile_names_do_no_harm_on_a_terminal(daemon, hostile):
    for command in (["ps"], ["sites", hostile.pid], ["allocs", hostile.pid], ["status"]):
        run = daemon.run("--no-color", *command)
        assert run.returncode == 0 and not CONTROL.search(run.stdout), command
        assert not [line for line in run.stdout.splitlines() if line.startswith("[31m")]
    assert not CONTROL.search(daemon.log())


def test_secrets_are_not_shown_anywhere(daemon, hostile):
    command_line = pathlib.Path(f"/proc/{hostile.pid}/cmdline").read_text(errors="replace")
    assert set(re.findall("SECRET[0-9]", command_line)) == {f"SECRET{i}" for i in range(1, 7)}
    row = daemon.process_row(hostile.pid)
    assert row["cmdline"].count("***") >= 6 and "--api-key" in row["cmdline"]
    for command in (["ps"], ["--json", "ps"], ["--json", "sites", hostile.pid], ["status"]):
        assert "SECRET" not in daemon.run(*command).stdout, command
    assert "SECRET" not in http(daemon.port).text
    assert "SECRET" not in daemon.log()
