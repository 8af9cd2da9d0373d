# SPDX-License-Identifier: Apache-2.0
"""A program on a real terminal of tmux, and golden screens.

SRTLEAK_UPDATE_SCREENS=1 writes the golden screens anew instead of comparing; look at the difference.
"""
import difflib
import os
import pathlib
import shlex
import subprocess
import time

from conftest import BIN, wait_until

SCREENS = pathlib.Path(__file__).with_name("screens")
CONFIGURATION = """
set -g status off
set -g remain-on-exit on
set -g default-terminal tmux-256color
set -g escape-time 0
"""
HEADER = "# SPDX-License-Identifier: Apache-2.0\n"
STEADY = 0.6  # seconds without a change


class Terminal:
    """`command` on a terminal of its own; `environment` is added to a plain one in UTF-8."""

    def __init__(self, directory, command, columns=80, rows=24, **environment):
        self.socket = str(directory / "tmux.sock")
        # tmux now and then loses the status that it could be asked for.
        self.status = directory / "status"
        configuration = directory / "tmux.conf"
        configuration.write_text(CONFIGURATION)
        self.tmux("-f", str(configuration), "-u", "new-session", "-d", "-x", str(columns),
                  "-y", str(rows), f"{shlex.join(map(str, command))}; echo $? > {self.status}",
                  env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm",
                       **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
                       **environment})  # fmt: skip

    def tmux(self, *arguments, **how):
        run = subprocess.run(["tmux", "-S", self.socket, *arguments], capture_output=True,
                             text=True, timeout=30, **how)  # fmt: skip
        assert run.returncode == 0, (arguments, run.stderr)
        return run.stdout

    def text(self, *options):
        lines = self.tmux("capture-pane", "-p", *options).split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def ask(self, format):
        return self.tmux("display-message", "-p", format).strip()

    def exit_status(self):
        wait_until(lambda: self.status.exists() and self.status.read_text().endswith("\n"),
                   "the program ends")  # fmt: skip
        return int(self.status.read_text())

    def see(self, *needles, printed=False):
        """Waits for all of these texts; returns the screen. `printed`: text that runs over lines and
        off the screen."""
        screen = ""

        def shown():
            nonlocal screen
            screen = self.text(*(["-J", "-S", "-"] if printed else []))
            return all(n in screen for n in needles)

        try:
            wait_until(shown, f"{needles} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{screen}") from None
        return screen

    def see_golden(self, name, needle):
        """Waits for the golden screen of that name; `needle` says when a new one can be taken."""
        path = SCREENS / f"{name}.txt"
        self.see(needle)
        if os.environ.get("SRTLEAK_UPDATE_SCREENS"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(HEADER + self.steady())
            return
        golden = path.read_text().removeprefix(HEADER)
        try:
            wait_until(lambda: self.text() == golden, f"the screen {name}", patience=10)
        except AssertionError as error:
            difference = difflib.unified_diff(golden.split("\n"), self.text().split("\n"),
                                              "golden", "screen", lineterm="")  # fmt: skip
            raise AssertionError(f"{error}\n" + "\n".join(difference)) from None

    def steady(self):
        before, since = self.text(), time.monotonic()
        while time.monotonic() - since < STEADY:
            now = self.text()
            if now != before:
                before, since = now, time.monotonic()
        return before

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, timeout=30,
                       check=False)  # fmt: skip


def top(socket, *options):
    return [BIN.resolve() / "srtleakctl", "--socket", socket, "top", *options]
