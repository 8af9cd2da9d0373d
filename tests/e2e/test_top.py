# SPDX-License-Identifier: Apache-2.0
"""The live view on a real terminal: golden screens of a fake daemon, and one real leak."""
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess

import pytest
from conftest import ROOT, need, wait_until
from fake_daemon import HANG, Server, reply
from fake_host import HOSTILE, HOUR, MIB, Host, frame, process, site, usage
from terminal import Terminal, top

SERVER = ROOT / "tests" / "workloads" / "server.py"
PYTHON = "/usr/bin/python3.11"
COLOUR = re.compile("\x1b\\[[0-9;]*(?:[34][0-7]|9[0-7]|38|48)m")
QUICK = ("-d", "0.1")


@pytest.fixture
def host(tmp_path):
    server = Server(tmp_path / "s")
    server.script = Host()
    server.host = server.script
    yield server
    server.close()


@pytest.fixture
def terminal(tmp_path):
    need(os.access("/usr/bin/tmux", os.X_OK), "tmux, as a terminal")
    started = []

    def start(command, *size, **environment):
        directory = tmp_path / f"terminal{len(started)}"
        directory.mkdir()
        started.append(Terminal(directory, command, *size, **environment))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def screen(host, terminal):
    return terminal(top(host.path, *QUICK))


# ---- golden screens


def to_stack(screen):
    """From the processes to the largest site of the first rank."""
    screen.see("sglang::router")
    screen.keys("Down", "Down", "Enter")
    screen.see("radix_cache.py:342")
    screen.keys("Enter")


def test_golden_processes(screen):
    screen.see_golden("processes", "70964 events")


def test_golden_sites(screen):
    screen.see("sglang::router")
    screen.keys("Down", "Down", "Enter")
    screen.see_golden("sites", "radix_cache.py:342")


def test_golden_stack(screen):
    to_stack(screen)
    screen.see_golden("stack", "PYTHON, innermost first")
    screen.keys("End")
    screen.see_golden("stack_end", "libtorch_cuda.so+0x6f7a")


def test_golden_help(screen):
    screen.see("sglang::router")
    screen.keys("?")
    screen.see_golden("help", "Any key goes back.")
    screen.keys("x")
    screen.see("sglang::router")


def test_golden_wide(host, terminal):
    host.host.status = {**host.host.status, "limits": []}
    screen = terminal(top(host.path, *QUICK), 160, 30)
    screen.see_golden("processes_wide", "70964 events")
    screen.keys("Down", "Down", "Enter")
    screen.see_golden("sites_wide", "radix_cache.py:342")


def test_golden_ascii(host, terminal):
    screen = terminal(top(host.path, *QUICK), LC_ALL="C")
    to_stack(screen)
    screen.see_golden("stack_ascii", "PYTHON, innermost first")
    assert screen.text().isascii()


def test_golden_verdicts(host, terminal):
    def processes():
        return [
            process(1, HOUR + 30, "fine", usage(device=(2 * MIB, 1)), verdict="ok"),
            process(2, HOUR + 30, "bad", usage(device=(MIB, 1)), verdict="leak", oom_eta_s=7200),
            process(3, HOUR + 30, "odd", usage(device=(4096, 1)), verdict="\x1b[2J"),
        ]

    host.host.processes = processes
    screen = terminal(top(host.path, *QUICK), 100, 12)
    screen.see_golden("verdicts", "VERDICT")


def hostile_host(host):
    wrong = frame(HOSTILE, HOSTILE, 1)
    host.host.processes = lambda: [
        process(1, HOUR + 30, HOSTILE, usage(device=(MIB, 1)), python=HOSTILE, container=HOSTILE,
                group=9),
        process(2, HOUR + 30, "x" * 100000, usage(), group=9, partial=[HOSTILE]),
        process(3, HOUR + 30, "e" + "\u0301" * 5000, usage()),
    ]  # fmt: skip
    host.host.sites = lambda: [
        site(7, HOSTILE, 1, 1, [wrong], api=HOSTILE, owner=HOSTILE),
        site(8, "device", 0, 1, [], native=[{"module": HOSTILE, "symbol": HOSTILE, "offset": -1}]),
    ]
    host.host.status = {**host.host.status, "version": HOSTILE}


@pytest.mark.parametrize("columns", [80, 200])
def test_golden_hostile(host, terminal, columns):
    hostile_host(host)
    screen = terminal(top(host.path, *QUICK), columns, 24)
    screen.see_golden(f"hostile_{columns}", r"\x1b]0;own\x07")
    screen.keys("Down", "Enter")
    screen.see_golden(f"hostile_{columns}_sites", "ALLOCATED AT")
    screen.keys("Enter")
    screen.see_golden(f"hostile_{columns}_stack", "innermost first")
    assert "own" not in screen.ask("#{pane_title}")


# ---- keys


def rows(screen):
    """The first words of the rows below the titles of the list."""
    lines = screen.text().split("\n")
    titles = [i for i, line in enumerate(lines) if "TITLE" in line or "ALLOCATED AT" in line]
    if not titles:
        return []
    begin = titles[0]
    return [line.split()[0] for line in lines[begin + 1 : -2] if line.strip()]


def see_rows(screen, *expected):
    wait_until(lambda: rows(screen) == list(expected), f"rows {expected}, not {rows(screen)}")


def test_order(screen):
    screen.see("by bytes")
    see_rows(screen, "977", "4200", "4211", "4212", "4200", "31337")
    for order, expected in [
        ("growth", ("4200", "4211", "4212", "4200", "977", "31337")),
        ("count", ("977", "4200", "4211", "4212", "4200", "31337")),
        ("age", ("977", "4200", "4200", "4211", "4212", "31337")),
        ("name", ("31337", "977", "4200", "4200", "4211", "4212")),
        ("pid", ("977", "4200", "4200", "4211", "4212", "31337")),
    ]:
        screen.keys("s")
        screen.see(f"by {order}")
        see_rows(screen, *expected)
    screen.keys("r")
    screen.see("by pid, reversed")
    see_rows(screen, "31337", "4200", "4212", "4211", "4200", "977")


def test_groups_fold(screen):
    screen.see("[-] 3x sglang::router")
    screen.keys("Down", "Down", "Space")  # on a member
    screen.see("[+] 3x sglang::router")
    see_rows(screen, "977", "4200", "31337")
    screen.keys("+")
    screen.see("[-] 3x sglang::router")
    screen.keys("-")
    screen.see("[+] 3x sglang::router")
    screen.keys("Enter")
    screen.see("[-] 3x sglang::router")
    screen.keys("Up", "Enter")  # a process that stands alone
    screen.see("process 977")


def test_filter(screen):
    screen.see("train.py")
    screen.keys("/")
    screen.type("TP1x")
    screen.see("filter: TP1x_", "Nothing matches the filter.")
    screen.keys("BSpace")
    see_rows(screen, "4212")
    screen.keys("Enter")
    screen.see("filter: TP1\n", "? help")
    screen.keys("Enter")
    screen.see("process 4212", "radix_cache.py")
    screen.keys("/")
    screen.type("wrapper_3")  # a frame further out
    see_rows(screen, "956.0")
    screen.keys("Escape")
    see_rows(screen, "956.0", "512.0", "256.0")
    screen.keys("Escape")
    screen.see("filter: TP1")
    screen.keys("Escape")
    see_rows(screen, "977", "4200", "4211", "4212", "4200", "31337")
    screen.keys("/")
    screen.type("日本")
    screen.see("filter: 日本_")
    screen.keys("BSpace")
    screen.see("filter: 日_")


def test_pause_and_interval(host, screen):
    screen.see("train.py")
    screen.keys("p")
    screen.see("PAUSED")
    asked = None

    def calm():
        nonlocal asked
        before, asked = asked, len(host.requests)
        return asked == before

    wait_until(calm, "no more questions")
    host.host.processes = lambda: []
    screen.keys("Down")
    assert "train.py" in screen.steady() and len(host.requests) == asked
    screen.keys("p")
    screen.see("No process that uses CUDA is tracked.")
    assert "PAUSED" not in screen.text()
    screen.keys("i")
    screen.see("every 0.5 s")
    screen.keys("i")
    screen.see("every 1 s")
    screen.keys("I")
    screen.see("every 0.5 s")


def test_many_rows_scroll(host, screen):
    host.host.processes = lambda: [
        process(i, HOUR + 30, f"p{i}", usage(device=((1000 - i) * MIB, 1))) for i in range(1, 501)
    ]
    screen.see("1 of 500", " p19")
    screen.keys("NPage")
    screen.see("20 of 500", " p20")
    screen.keys("End")
    screen.see("500 of 500", " p500")
    host.host.processes = lambda: [process(1, HOUR + 30, "alone", usage())]
    screen.see("alone")
    see_rows(screen, "1")


def test_selection_follows_its_process(host, screen):
    screen.see("train.py")
    screen.keys("End")  # idle
    sizes = iter(range(1, 10**6))

    def processes():
        return [process(1, HOUR, "new", usage(device=(MIB, 1))),
                process(31337, HOUR + 30, "idle", usage(device=(2 * MIB, next(sizes))))]  # fmt: skip

    host.host.processes = processes
    screen.see("new")
    screen.keys("Enter")
    screen.see("process 31337")


# ---- what happens around it


def test_daemon_restart(host, screen, tmp_path):
    to_stack(screen)
    screen.see("wrapper_0")
    host.close()
    screen.see("daemon not reachable, retrying: not running (there is no such socket)",
               "wrapper_0")  # fmt: skip
    screen.keys("Escape")
    screen.see("ALLOCATED AT", "not reachable")
    again = Server(tmp_path / "s")
    again.script = Host()
    again.script.begin = host.host.begin
    again.script.status = {**again.script.status, "version": "9.9.9"}
    try:
        screen.see("daemon 9.9.9", "radix_cache.py:342")
        assert "not reachable" not in screen.text()
    finally:
        again.close()


def test_slow_daemon_leaves_the_keyboard(host, screen):
    screen.see("70964 events")
    host.host.before = [HANG]
    screen.see("daemon slow: no answer for")
    screen.keys("Down", "Space")
    screen.see("[+] 3x sglang::router")
    screen.keys("?")
    screen.see("Any key goes back.")
    screen.keys("x", "q")
    assert screen.exit_status() == 0


@pytest.mark.parametrize("step, words", [
    (b"{]\0", "its answer is malformed"),
    ({"error": "io.srtleak.Overloaded", "parameters": {}}, "it has too much to do"),
    ({"error": "x\x1b[2J", "parameters": {}}, "it answers with an error"),
])  # fmt: skip
def test_wrong_answers(host, screen, step, words):
    screen.see("70964 events")
    host.host.before = [step]
    screen.see(f"retrying: {words}", "train.py")
    host.host.before = []
    screen.see("70964 events")


def test_answers_in_pieces(host, screen):
    screen.see("70964 events")
    pieces = [reply({"processes": [p]}, True) for p in host.host.running()]
    host.script = lambda request: (
        [*pieces, reply({"processes": []})] if request["method"].endswith("Ps") else []
    )
    screen.see("closed the connection")
    see_rows(screen, "977", "4200", "4211", "4212", "4200", "31337")


def test_process_ends_while_looked_at(host, screen):
    to_stack(screen)
    screen.see("wrapper_0")
    host.host.processes = lambda: [process(31337, HOUR + 30, "idle", usage())]
    screen.see("This process has ended", "wrapper_0")
    screen.keys("Escape")
    screen.see("This process has ended", "radix_cache.py:342")
    screen.keys("Escape")
    see_rows(screen, "31337")


def test_pid_of_another_process(host, screen):
    screen.see("train.py")
    screen.keys("Enter")
    screen.see("process 977", "radix_cache.py")
    host.host.processes = lambda: [process(977, 60, "another", usage(device=(MIB, 1)))]
    screen.see("This process has ended", "train.py")


def test_site_is_freed_while_looked_at(host, screen):
    to_stack(screen)
    host.host.sites = lambda: []
    screen.see("This site is free now", "wrapper_0")
    screen.keys("Escape")
    screen.see("Nothing is outstanding.")


def test_old_daemon_cannot_order_by_growth(host, screen):
    answer = host.host.answer_sites

    def old(parameters):
        if parameters["sort"] == "growth":
            return {"error": "org.varlink.service.InvalidParameter",
                    "parameters": {"parameter": "sort"}}  # fmt: skip
        return answer(parameters)

    host.host.answer_sites = old
    screen.see("train.py")
    screen.keys("Enter")
    screen.see("radix_cache.py")
    screen.keys("s")
    screen.see("by growth", "radix_cache.py", "9.8.7")
    assert "not reachable" not in screen.steady()


def test_resize(host, screen):
    to_stack(screen)
    for columns, rows_, needle in [
        (120, 40, "libtorch_cuda.so+0x6f7a"), (20, 24, "Too small"), (80, 4, "Too small"),
        (40, 8, "process 4211"), (250, 60, "srt/mem_cache/radix_cache.py:342"),
        (80, 24, "wrapper_0"),
    ]:  # fmt: skip
        screen.resize(columns, rows_)
        screen.see(needle)
    screen.see_golden("stack", "wrapper_0")


def test_no_color(host, terminal):
    for options, environment, coloured in [
        ((), {}, True), ((), {"NO_COLOR": "1"}, False), (("--no-color",), {}, False),
        ((), {"TERM_PROGRAM": "x", "NO_COLOR": ""}, True),
    ]:  # fmt: skip
        screen = terminal(top(host.path, *options), **environment)
        screen.see("train.py", "70964 events")
        assert bool(COLOUR.search(screen.text("-e"))) == coloured
        screen.keys("q")
        assert screen.exit_status() == 0


# ---- the terminal comes back


def shell(terminal, host, tmp_path):
    """A shell that runs top and says how it ended."""
    screen = terminal(["sh", "-i"], ASAN_OPTIONS="handle_segv=0:handle_abort=0")
    pid = tmp_path / "pid"
    command = f"echo $$ > {pid}; exec {shlex.join(map(str, top(host.path, *QUICK)))}"
    screen.type(f"sh -c {shlex.quote(command)}; echo status $?; stty -a\n")
    screen.see("train.py")
    return screen, int(pid.read_text())


@pytest.mark.parametrize("how, status", [
    (signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGSEGV, 139),
    (signal.SIGABRT, 134),
])  # fmt: skip
def test_terminal_after_a_signal(terminal, host, tmp_path, how, status):
    screen, pid = shell(terminal, host, tmp_path)
    assert screen.ask("#{alternate_on} #{cursor_flag}") == "1 0"
    os.kill(pid, how)
    text = screen.see(f"status {status}", "icanon")
    assert " icanon" in text and " echo " in text and " icrnl" in text
    assert screen.ask("#{alternate_on} #{cursor_flag}") == "0 1"
    assert "train.py" not in text


def test_stop_and_go_on(terminal, host, tmp_path):
    screen, _ = shell(terminal, host, tmp_path)
    screen.keys("C-z")
    screen.see("Stopped", "icanon")
    assert screen.ask("#{alternate_on}") == "0"
    screen.type("fg\n")
    screen.see("train.py", "? help")
    screen.keys("?")
    screen.see("Any key goes back.")


def status_of(pid):
    return pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


def test_continued_after_sigstop(terminal, host, tmp_path):
    screen, pid = shell(terminal, host, tmp_path)
    os.kill(pid, signal.SIGSTOP)
    screen.see("Stopped")
    screen.type("fg\n")
    # Until then what is typed is the shell's.
    wait_until(lambda: "T (stopped)" not in status_of(pid), "it goes on")
    screen.keys("?")
    screen.see("Any key goes back.")


def test_ends_with_its_terminal(terminal, host, tmp_path):
    screen, pid = shell(terminal, host, tmp_path)
    screen.close()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "top ends")


def run(*command, **environment):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False,
                          env={**os.environ, **environment})  # fmt: skip


def test_without_a_terminal(host):
    result = run(*top(host.path))
    assert result.returncode == 2 and result.stdout == ""
    assert "must be a terminal" in result.stderr and "--batch" in result.stderr


@pytest.mark.parametrize("term", ["dumb", "no-such-terminal"])
def test_unable_terminal(host, terminal, term):
    command = ["env", f"TERM={term}", *top(host.path)]
    screen = terminal(command)
    screen.see("cannot show a full screen", "--batch", printed=True)
    assert screen.exit_status() == 2


def test_without_a_daemon(terminal, tmp_path):
    screen = terminal(top(tmp_path / "none"))
    screen.see("not running (there is no such socket)", "--socket PATH", printed=True)
    assert screen.exit_status() == 3


# ---- batch


@pytest.mark.parametrize("options, needle", [
    (("--json",), "--json needs --batch"), (("-n", "3"), "--frames needs --batch"),
    (("-d", "0"), "--delay 0"), (("-d", "1e3"), "--delay 1e3"), (("-n", "0"), "--frames 0"),
    (("-n",), "-n needs a value"), (("--sort", "size"), "--sort size"), (("-x",), "option -x"),
])  # fmt: skip
def test_wrong_options(host, options, needle):
    result = run(*top(host.path, *options))
    assert result.returncode == 2
    assert needle in (result.stderr or json.loads(result.stdout)["error"]["why"])


def test_batch_text(host):
    result = run(*top(host.path, "--batch", "-n", "2", *QUICK, "--sort", "pid"))
    assert result.returncode == 0 and result.stderr == ""
    frames = result.stdout.split("\n\n")
    assert len(frames) == 3 and frames[2] == ""
    for one in frames[:2]:
        lines = one.split("\n")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[0])
        assert lines[1].startswith(" srtleak   25.8 GiB of CUDA memory in 5 processes")
        assert [line.split()[0] for line in lines[2:]] == [
            "PID", "977", "4200", "4200", "4211", "4212", "31337"]  # fmt: skip
        assert "    sglang::scheduler_TP0" in one and "+12 MiB/min" in one
        assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in result.stdout


def test_batch_json(host):
    before = host.host.running()
    result = run(*top(host.path, "--batch", "-n", "3", *QUICK, "--json"))
    assert result.returncode == 0 and result.stderr == ""
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    times = [o.pop("time") for o in objects]
    assert objects == [{"processes": before}] * 3
    assert times == sorted(times) and 0.2 <= times[2] - times[0]


def test_batch_hostile(host):
    hostile_host(host)
    text = run(*top(host.path, "--batch", "-n", "1")).stdout
    assert r"\x1b]0;own\x07\x1b[2J" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]", text)


def test_batch_outlives_a_restart(host):
    answers = iter([None, {"error": "io.srtleak.Overloaded", "parameters": {}}])

    def script(request):
        error = next(answers, None)
        return [error] if error else host.host(request)

    host.script = script
    result = run(*top(host.path, "--batch", "-n", "3", *QUICK, "--json"))
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert [next(iter(o)) for o in objects] == ["processes", "error", "processes"]


def test_batch_without_a_daemon(tmp_path):
    result = run(*top(tmp_path / "none", "--batch"))
    assert result.returncode == 3 and result.stdout == ""


# ---- a real daemon and a real leak


def test_real_leak(start_daemon, workload, terminal, tmp_path):
    directory = tmp_path / "daemon"
    directory.mkdir()
    daemon = start_daemon(directory=directory)
    server = workload(PYTHON, SERVER, "--leak", "prefix_cache", "--requests-per-second", "200")
    assert server.line()["pid"] == server.pid
    wait_until(lambda: daemon.process_row(server.pid), "the server is tracked")
    screen = terminal(top(daemon.socket, *QUICK), 100, 30)
    screen.see(str(server.pid), "daemon ")
    screen.keys("/")
    screen.type(str(server.pid))
    screen.keys("Enter", "Enter")
    screen.see(f"process {server.pid}")

    def leak_is_first():
        lines = screen.text().split("\n")
        titles = next((i for i, line in enumerate(lines) if "ALLOCATED AT" in line), None)
        return titles and "PrefixCache.insert" in lines[titles + 1]

    wait_until(leak_is_first, "the leak is the first site")
    screen.keys("Home", "Enter")
    line = next(i for i, text in enumerate(SERVER.read_text().split("\n"), 1)
                if "self.cuda.malloc(PREFIX_BLOCK_BYTES)" in text)  # fmt: skip
    screen.see(f"server.py:{line}", "Scheduler.run_batch", "NATIVE, innermost first")
    daemon.stop()
    screen.see("daemon not reachable, retrying", "PrefixCache.insert")
    start_daemon(directory=directory)
    screen.see("daemon ", " events")
    wait_until(lambda: "not reachable" not in screen.text(), "the daemon is found again")
    screen.keys("q")
    assert screen.exit_status() == 0
