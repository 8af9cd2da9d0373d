# SPDX-License-Identifier: Apache-2.0
"""bash completion, in a real bash: what it offers is what the programs have."""
import json
import os
import pty
import re
import select
import socket
import subprocess
import threading
import time

import pytest
from conftest import LEAK, PATIENCE, ROOT, count_is, wait_until
from help_text import CLIENT, DAEMON, client_options, commands, daemon_options, help_of

COMPLETIONS = ROOT / "packaging" / "completions"
# As bash calls it: command, word, word before. Candidates are printed one a line.
SCRIPT = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_srtleak "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""
TAB, LIST, MENU = "9", "63", "37"  # COMP_TYPE, the key or what it does


def complete(program, *words, how=TAB, **environment):
    run = subprocess.run(
        ["bash", "--norc", "-u", "-c", SCRIPT, "bash", COMPLETIONS / program.name, program, *words],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "COMP_TYPE": how, "SRTLEAK_SOCKET": "/nonexistent/socket", **environment},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.splitlines()


def test_commands():
    assert set(complete(CLIENT, "")) == set(commands())
    assert complete(CLIENT, "--json", "sit") == ["sites"]
    assert complete(CLIENT, "--socket", "/tmp/x", "sit") == ["sites"]


def test_options_of_the_client():
    assert set(complete(CLIENT, "-")) == set(client_options())
    for command in commands():
        assert set(complete(CLIENT, command, "-")) == set(client_options(command))


def test_options_of_the_daemon():
    offered = complete(DAEMON, "--")
    assert set(offered) == set(daemon_options())


def words_after_colon(command, option):
    return client_options(command)[option][1].rsplit(": ", 1)[1].replace(",", "").split()


@pytest.mark.parametrize("option, some", [("--kind", "device"), ("--sort", "growth")])
@pytest.mark.parametrize("before", [[], ["="]], ids=["", "="])
def test_values_of_the_client(option, some, before):
    offered = complete(CLIENT, "sites", "1", option, *before, "")
    assert offered == words_after_colon("sites", option)
    assert some in offered
    assert complete(CLIENT, "sites", option, *before, some[:2]) == [some]


def test_value_right_behind_the_equals_sign():
    assert "device" in complete(CLIENT, "sites", "--kind", "=")


def test_values_of_the_daemon(tmp_path):
    assert complete(DAEMON, "--attach", "") == ["auto", "multi", "perf"]
    assert complete(DAEMON, "--keep-on-exit", "y") == ["yes"]
    (tmp_path / "pins").mkdir()
    (tmp_path / "plain").touch()
    assert complete(DAEMON, "--pin-dir", f"{tmp_path}/p") == [f"{tmp_path}/pins"]
    assert complete(DAEMON, "--config", f"{tmp_path}/pl") == [f"{tmp_path}/plain"]
    assert complete(DAEMON, "--pid", str(os.getpid())) == [str(os.getpid())]


def test_paths(tmp_path):
    (tmp_path / "a b.sock").touch()
    assert complete(CLIENT, "--socket", f"{tmp_path}/a") == [f"{tmp_path}/a b.sock"]
    assert complete(CLIENT, "ps", "--socket", "=", f"{tmp_path}/") == [f"{tmp_path}/a b.sock"]


def test_nothing_where_nothing_is_known(tmp_path):
    for words in (["sites", ""], ["ps", ""], ["allocs", "1", ""], ["sites", "--limit", ""]):
        assert complete(CLIENT, *words) == []
    assert complete(CLIENT, "nonsense", "") == []
    assert complete(tmp_path / "srtleakctl", "") == []  # there is no such program


def complete_when_asked(*words, **environment):
    """Who is asked has a second for the answer, which can be too short for a busy machine."""
    return wait_until(lambda: complete(CLIENT, *words, **environment), "candidates")


def commands_with_pid():
    return [command for command, operand in commands().items() if "PID" in operand]


def test_processes_of_a_daemon(daemon, workload):
    processes = [workload(LEAK, "--hold", "60", "1", "64") for _ in range(2)]
    for process in processes:
        count_is(daemon, process.pid, 1)
    offered = complete_when_asked("sites", "", SRTLEAK_SOCKET=daemon.socket, how=LIST)
    assert {f"{process.pid}  (leak)" for process in processes} <= set(offered)
    pid = str(processes[0].pid)
    for command in commands_with_pid():
        assert complete_when_asked("--socket", daemon.socket, command, pid) == [pid]
    menu = complete_when_asked("sites", "", SRTLEAK_SOCKET=daemon.socket, how=MENU)
    assert pid in menu and all(entry.isdigit() for entry in menu)
    assert complete(CLIENT, "sites", pid, "", SRTLEAK_SOCKET=daemon.socket) == []


class FakeDaemon:
    """Answers each request with the same; nothing at all where that is None."""

    def __init__(self, path, reply):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.reply = reply
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        held = []
        while True:
            client = self.listener.accept()[0]
            held.append(client)
            client.recv(65536)
            if self.reply is not None:
                client.sendall(json.dumps({"parameters": self.reply}).encode() + b"\0")


def test_titles_of_strangers(tmp_path):
    titles = ['x","pid":666,"title":"y', "\x1b[31mred", "$(touch {})".format(tmp_path / "run"), "  "]
    processes = [
        {"pid": 100 + i, "comm": '"pid":7', "cmdline": None, "title": title, "partial": ["lost"]}
        for i, title in enumerate(titles)
    ]
    fake = FakeDaemon(tmp_path / "socket", {"processes": processes})
    offered = complete_when_asked("sites", "", SRTLEAK_SOCKET=fake.path, how=LIST)
    assert [line.split("  ")[0] for line in offered] == ["100", "101", "102", "103"]
    assert all(line.isprintable() for line in offered)
    assert not (tmp_path / "run").exists()


def test_daemon_that_does_not_answer_is_not_waited_for(tmp_path):
    fake = FakeDaemon(tmp_path / "socket", None)
    begin = time.monotonic()
    assert complete(CLIENT, "sites", "", SRTLEAK_SOCKET=fake.path) == []
    assert time.monotonic() - begin < 9  # what srtleakctl itself would wait is 10 s


def read_until(fd, wanted):
    """What a terminal has shown when it matches."""
    shown, end = "", time.monotonic() + PATIENCE
    while not re.search(wanted, shown):
        assert time.monotonic() < end, f"no {wanted}: {shown}"
        if select.select([fd], [], [], 0.1)[0]:
            shown += os.read(fd, 65536).decode(errors="replace")
    return shown


def test_on_a_terminal():
    child, fd = pty.fork()
    if child == 0:
        os.environ.update(PS1="ready> ", TERM="dumb", PATH=f"{CLIENT.parent}:{os.environ['PATH']}")
        os.execlp("bash", "bash", "--norc", "--noprofile", "-i")
    try:
        read_until(fd, "ready> ")
        os.write(fd, f"bind 'set enable-bracketed-paste off'; . {COMPLETIONS}/srtleakctl\n".encode())
        read_until(fd, r"srtleakctl\r?\n(.*\n)*ready> ")
        os.write(fd, b"srtleakctl sites --sor\t")
        read_until(fd, "sites --sort ")
        os.write(fd, b"gro\t")
        read_until(fd, "growth ")
    finally:
        os.close(fd)
        os.waitpid(child, 0)


def test_the_help_is_understood():
    """Each line of options in a help text is one that the expressions here and there match."""
    texts = [help_of(DAEMON), help_of(CLIENT), *(help_of(CLIENT, c) for c in commands())]
    for text in texts:
        for line in text.splitlines():
            if line.startswith("  -"):
                assert re.match(r"  (-[a-z], )?--[a-z-]+( \S+)?(, --[a-z-]+$|$|  ?)", line), line
