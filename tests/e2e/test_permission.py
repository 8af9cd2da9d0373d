# SPDX-License-Identifier: Apache-2.0
"""Who may change what the daemon tracks: root and group srtleak-admin; others may look."""
import json
import pathlib
import subprocess

import pytest
from conftest import LEAK, wait_until

NOBODY = 65534
USERS, ADMINS = 54321, 54322  # groups
PEOPLE = ["--reuid", str(NOBODY), "--regid"]


def with_groups(directory):
    """Runs a program with an /etc/group that has both groups, without a change to the machine's."""
    path = directory / "group"
    lines = pathlib.Path("/etc/group").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("srtleak")]
    lines += [f"srtleak:x:{USERS}:", f"srtleak-admin:x:{ADMINS}:"]
    path.write_text("\n".join(lines) + "\n")
    script = 'mount --bind "$0" /etc/group && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(path)]


@pytest.fixture
def guarded(open_directory, start_daemon):
    return start_daemon(directory=open_directory, wrapper=with_groups(open_directory))


def run_as(daemon, who, *command):
    client = pathlib.Path(daemon.socket).parent / "srtleakctl"
    return subprocess.run(
        ["setpriv", *who, client, "--socket", daemon.socket, *map(str, command)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


LOOKERS = {
    "group": [*PEOPLE, str(USERS), "--clear-groups"],
    "supplementary": [*PEOPLE, str(NOBODY), "--groups", str(USERS)],
}
CHANGERS = {
    "root": ["--reuid", "0"],
    "group": [*PEOPLE, str(ADMINS), "--groups", str(USERS)],
    "supplementary": [*PEOPLE, str(NOBODY), "--groups", f"{USERS},{ADMINS}"],
}


@pytest.fixture
def leak(guarded, workload):
    process = workload(LEAK, "--at-once", "--hold", "100", "3", "4096")
    wait_until(lambda: process.pid in guarded.pids(), "it is known")
    return process


@pytest.mark.parametrize("who", LOOKERS.values(), ids=LOOKERS)
@pytest.mark.parametrize("word", ["track", "untrack"])
def test_users_may_look_only(guarded, leak, who, word):
    run = run_as(guarded, who, word, leak.pid)
    assert run.returncode == 4 and run.stdout == ""
    first, hint = run.stderr.splitlines()
    assert first.startswith(f"srtleakctl: {word} {leak.pid}: permission denied")
    assert "srtleak-admin" in hint
    run = run_as(guarded, who, "--json", word, leak.pid)
    error = json.loads(run.stdout)["error"]
    assert run.returncode == error["status"] == 4 and "srtleak-admin" in error["hint"]
    assert run_as(guarded, who, "sites", leak.pid).returncode == 0
    assert f"{word} of process" not in guarded.log()


@pytest.mark.parametrize("who", CHANGERS.values(), ids=CHANGERS)
def test_admins_may_change_and_are_logged(guarded, leak, who):
    uid = 0 if who == CHANGERS["root"] else NOBODY
    run = run_as(guarded, who, "untrack", leak.pid)
    assert run.returncode == 0, run.stderr
    assert leak.pid not in guarded.pids()
    assert run_as(guarded, who, "track", leak.pid).returncode == 0
    assert leak.pid in guarded.pids()
    for word in ("untrack", "track"):
        assert f"<5>srtleakd: {word} of process {leak.pid} by uid {uid}\n" in guarded.log()


def test_admins_alone_cannot_connect(guarded):
    """Who may change must be able to look: the socket is group srtleak's."""
    who = [*PEOPLE, str(NOBODY), "--groups", str(ADMINS)]
    assert run_as(guarded, who, "ps").returncode == 4
