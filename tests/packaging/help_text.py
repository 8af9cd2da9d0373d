# SPDX-License-Identifier: Apache-2.0
"""What the programs say of themselves with --help, as the tests of pages and completion need it."""
import re
import subprocess

from conftest import BIN

DAEMON = BIN / "srtleakd"
CLIENT = BIN / "srtleakctl"
OPTION = re.compile(r"^  (?:(-[a-z]), )?(--[a-z_-]+)(?: ([^ ]+))?(?: +(.*))?$", re.MULTILINE)
PAIR = re.compile(r"^  (--[a-z-]+), (--[a-z-]+)$", re.MULTILINE)
COMMAND = re.compile(r"^  ([a-z]+) +(?:(\[?PID\]?) +)?[a-z]", re.MULTILINE)


def help_of(*command):
    run = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stderr == ""
    return run.stdout


def options_in(text):
    """{"--name": (its value's name, or None, its help)}; short forms too, with the same."""
    found = {name: (None, "") for pair in PAIR.findall(text) for name in pair}
    for short, name, value, words in OPTION.findall(PAIR.sub("", text)):
        found[name] = (value or None, words)
        if short:
            found[short] = found[name]
    assert found
    return found


def commands():
    """{"sites": "PID", "ps": ""}"""
    found = dict(COMMAND.findall(help_of(CLIENT).split("Commands:")[1].split("Options:")[0]))
    assert len(found) >= 5
    return found


def client_options(command=None):
    return options_in(help_of(CLIENT, *([command] if command else [])))


def daemon_options():
    return options_in(help_of(DAEMON))
