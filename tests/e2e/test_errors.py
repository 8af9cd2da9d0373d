# SPDX-License-Identifier: Apache-2.0
"""How srtleakd refuses to start: the promised status, and one line that says why."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import BIN, SIM, free_port, need

NOBODY = "65534"
LINE = re.compile(r"<[34]>srtleakd: .+\n")


def run(*arguments, wrapper=(), program=BIN / "srtleakd", **environment):
    return subprocess.run(
        [*wrapper, program, *map(str, arguments)], capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip


def refused(result, status, *words):
    """One line on stderr, with these words in it, and nothing on stdout."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert LINE.fullmatch(result.stderr), result.stderr
    for word in words:
        assert str(word) in result.stderr
    return result.stderr


USAGES = [
    (["--bogus"], "--bogus"),
    (["-x"], "-x"),
    (["--socket"], "--socket"),
    (["stray"], "stray"),
    (["--listen", "none", "--", "stray"], "stray"),
    (["--attach", "magic"], "--attach magic"),
    (["--listen", "nowhere"], "--listen nowhere"),
    (["--listen", "127.0.0.1:0"], "--listen"),
    (["--listen", "127.0.0.1:65536"], "--listen"),
    (["--listen", "example.org:9748"], "--listen"),
    (["--pid", "0"], "--pid 0"),
    (["--pid", "-5"], "--pid -5"),
    (["--pid", "1x"], "--pid 1x"),
    (["--pid", "99999999999"], "--pid"),
    (["--libraries", "relative/*.so"], "--libraries relative/*.so"),
    (["--socket", "/" + "x" * 108], "--socket"),
    (["--socket", ""], "--socket"),
    (["--config", "/nonexistent/srtleak.conf"], "/nonexistent/srtleak.conf"),
    (["--bogus\x1b[31m\nline"], "--bogus"),
]


@pytest.mark.parametrize("arguments, word", USAGES)
def test_wrong_usage_is_2(arguments, word):
    assert "\x1b" not in refused(run(*arguments), 2, word)


CONFIGURATIONS = [
    ("socket = /tmp/x.sock\nbogus = 1\n", 2, "bogus"),
    ("listen = nowhere\n", 1, "listen"),
    ("\n# comment\nattach = magic\n", 3, "attach"),
    ("attach =\n", 1, "attach"),
    ("[section]\n", 1, "there are no sections"),
    ("listen = none\nno equals sign\n", 2, ""),
    ("pid = 1\n", 1, "pid"),
    ("attach = auto\n  libraries = relative\n", 2, "libraries"),
    ("socket = /" + "x" * 150 + "\n", 1, "socket"),
    ("attach = auto\0\n", 1, ""),
    ("x" * 100_000 + " = 1\n", 1, ""),
]  # fmt: skip


@pytest.mark.parametrize("text, line, key", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_malformed_configuration_names_file_line_and_key(tmp_path, text, line, key):
    path = tmp_path / "srtleak.conf"
    path.write_text(text)
    refused(run("--config", path), 2, f"{path}:{line}: {key}")


def test_malformed_drop_ins_are_named(tmp_path):
    path = tmp_path / "srtleak.conf"
    path.write_text("attach = auto\n")
    drop_in = tmp_path / "srtleak.conf.d" / "10-site.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("listen = none\nattach = magic\n")
    refused(run("--config", path), 2, f"{drop_in}:2: attach")


def test_the_command_line_overrules_the_file(start_daemon, tmp_path):
    path = tmp_path / "srtleak.conf"
    path.write_text(f"socket = {tmp_path}/file.sock\nattach = perf\nlisten = none\n")
    daemon = start_daemon("--config", str(path))
    assert daemon.ctl("status")["attach_mode"] == "perf"
    assert not (tmp_path / "file.sock").exists()


def test_attach_multi(start_daemon):
    assert start_daemon("--attach", "multi").ctl("status")["attach_mode"] == "multi"


def test_help_and_version():
    text = run("--help")
    assert text.returncode == 0 and text.stderr == ""
    for option in ("socket", "listen", "attach", "libraries", "pid", "config", "help", "version"):
        assert f"--{option}" in text.stdout
    version = run("--version")
    assert version.returncode == 0 and version.stderr == ""
    assert re.fullmatch(r"srtleakd \d+\.\d+\.\d+\n", version.stdout)
    assert run("--help", "--bogus").returncode == 0, "help wins"


def test_without_privileges_is_4():
    need(os.geteuid() == 0, "root, to give it up")
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o777)
        shutil.copy2(BIN / "srtleakd", path)
        result = run(
            "--socket", f"{path}/srtleak.sock", "--listen", f"127.0.0.1:{free_port()}",
            program=f"{path}/srtleakd",
            wrapper=["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"],
        )  # fmt: skip
        assert refused(result, 4, "CAP_BPF", "CAP_PERFMON")
        assert os.listdir(path) == ["srtleakd"], "and leaves nothing behind"


def test_a_socket_that_another_daemon_has_is_7(start_daemon):
    daemon = start_daemon()
    result = run("--socket", daemon.socket, "--listen", "none", "--libraries", SIM / "*.so.*")
    refused(result, 7, daemon.socket)
    assert daemon.ctl("status")["pid"] == daemon.process.pid, "the first one goes on"


def test_a_socket_that_a_dead_daemon_left_is_taken_over(start_daemon, tmp_path):
    first = start_daemon(directory=tmp_path)
    first.process.kill()
    first.process.wait()
    assert os.path.exists(first.socket)
    second = start_daemon(directory=tmp_path)
    assert second.ctl("status")["pid"] == second.process.pid


def test_a_folder_that_cannot_be_made_is_1(start_daemon, tmp_path):
    start_daemon()  # skips where BPF cannot be used: it would be another error
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "srtleak.sock"
    refused(run("--socket", path, "--listen", "none"), 1, path)


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_end_it_with_0(start_daemon, signal_):
    daemon = start_daemon()
    assert daemon.stop(signal_) == 0
    assert not os.path.exists(daemon.socket)


def test_a_hangup_does_not_end_it(start_daemon):
    daemon = start_daemon()
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.ctl("status")["pid"] == daemon.process.pid


def test_the_socket_from_the_environment(start_daemon, tmp_path):
    """A folder for the standard path is mounted for this one process, should it take that."""
    need(os.geteuid() == 0, "root")
    path = start_daemon().socket
    wrapper = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
    daemon = subprocess.Popen(
        [*wrapper, BIN / "srtleakd", "--listen", "none"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "SRTLEAK_SOCKET": path},
    )  # fmt: skip
    try:
        assert path in daemon.stderr.readline(), "another daemon has it"
        assert daemon.wait(timeout=20) == 7
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)
