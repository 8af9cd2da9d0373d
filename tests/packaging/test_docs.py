# SPDX-License-Identifier: Apache-2.0
"""Manual pages and guides against the programs: whatever the programs have is documented, and
nothing else is.
"""
import re
import shutil
import subprocess
import urllib.request

import pytest
from conftest import LEAK, ROOT, count_is, need
from help_text import client_options, commands, daemon_options

MAN = ROOT / "packaging" / "man"
PAGES = sorted(MAN.glob("*.scd"))
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROTOCOL = ROOT / "include" / "protocol.h"
NOT_KEYS = {"--pid", "--config", "--no-pin", "--reset", "--help", "--version"}
# Only while the kernel counts what programs cost.
SOMETIMES_SERVED = {"srtleak_probe_seconds_total"}


def page(name):
    return (MAN / f"{name}.scd").read_text()


def section(text, title):
    """What stands between a heading and the next one of the same or a higher level."""
    found = re.search(rf"^(#+) {title}\n(.*?)(?=^\1 |^# |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[2]


def defined_options(text):
    """Those that a paragraph of their own explains."""
    heads = re.findall(r"^\*-.*$", text, re.MULTILINE)
    return {name for head in heads for name in re.findall(r"\*(--?[a-z-]+)\*", head)}


def code_in(text):
    """Blocks, inline code of a guide, and what is bold in a page."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(blocks + [code for _, code in re.findall(r"([`*])([^`*\n]+)\1", rest)])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_builds_and_is_well_formed(path, tmp_path):
    need(shutil.which("scdoc") and shutil.which("mandoc"), "scdoc and mandoc")
    built = tmp_path / path.stem
    with open(path, "rb") as source, open(built, "wb") as target:
        subprocess.run(["scdoc"], stdin=source, stdout=target, check=True, timeout=60)
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error", built], capture_output=True, text=True, timeout=60
    )
    assert (lint.returncode, lint.stdout) == (0, "")


def test_every_command_is_documented_and_no_other():
    headings = re.findall(r"^## (.*)$", section(page("srtleakctl.1"), "COMMANDS"), re.MULTILINE)
    documented = dict(
        (word.split() + [""])[:2] for heading in headings for word in heading.split(", ")
    )
    assert documented == commands()


def test_every_option_of_the_client_is_documented_where_it_belongs():
    text = page("srtleakctl.1")
    everywhere = client_options()
    assert defined_options(section(text, "OPTIONS")) == set(everywhere)
    for command, operand in commands().items():
        own = set(client_options(command)) - set(everywhere)
        heading = next(
            line[3:] for line in text.splitlines() if re.match(rf"## (.*, )?{command}\b", line)
        )
        assert defined_options(section(text, re.escape(heading))) == own, (command, operand)


def test_every_option_of_the_daemon_is_documented_and_no_other():
    assert defined_options(section(page("srtleakd.8"), "OPTIONS")) == set(daemon_options())


def documented_keys():
    """{key: its default, or None}"""
    found = {}
    for block in re.findall(r"^(\*[a-z_]+\* = .*\n(?:\t.*\n)+)", page("srtleak.conf.5"), re.M):
        default = re.search(r"Default: (?:\*(.*)\*|none)\.$", block.strip())
        assert default, f"no default: {block}"
        for key in re.findall(r"\*([a-z_]+)\* = ", block):
            found[key] = default[1]
    return found


def test_every_key_is_documented_with_its_default():
    actual = {}
    for option, (_, words) in daemon_options().items():
        if option not in NOT_KEYS:
            default = re.search(r"\(default (.*)\)$", words)
            actual[option[2:].replace("-", "_")] = default[1] if default else None
    assert documented_keys() == actual


@pytest.mark.parametrize("path", PAGES + GUIDES, ids=lambda path: path.name)
def test_what_is_typed_in_examples_exists(path):
    code = code_in(path.read_text())
    known = commands()
    for line in re.findall(r"\bsrtleakctl ([^|\n)'\"]*)", code):
        words = re.sub(r"--socket[ =]\S+|2?>.*|#.*", "", line).split()
        command = next((word for word in words if word[0] not in "-…"), None)
        if command is None or command.isupper():  # COMMAND
            continue
        assert command in known, line
        assert {word for word in words if word[0] == "-"} <= set(client_options(command)), line
    for line in re.findall(r"\bsrtleakd (-[^|\n)'\"]*)", code):
        typed = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", line))
        assert typed <= set(daemon_options()), line


@pytest.mark.parametrize("name, enum", [("srtleakctl.1", "cli"), ("srtleakd.8", "daemon")])
def test_every_exit_status_is_documented(name, enum):
    body = re.search(rf"enum {enum}_status {{(.*?)}}", PROTOCOL.read_text(), re.DOTALL)[1]
    documented = re.findall(r"^\*(\d+)\*$", section(page(name), "EXIT STATUS"), re.MULTILINE)
    assert documented == re.findall(r"= (\d+)", body)


def scrape(daemon):
    url = f"http://127.0.0.1:{daemon.port}/metrics"
    return urllib.request.urlopen(url, timeout=20).read().decode()


def test_every_metric_is_documented_and_no_other(daemon):
    served = set(re.findall(r"^# TYPE (\S+)", scrape(daemon), re.MULTILINE))
    heads = re.findall(r"^\*[a-z].*$", section(page("srtleakd.8"), "METRICS"), re.MULTILINE)
    documented = set(re.findall(r"\*(\w+)\*", "\n".join(heads)))
    assert served <= documented
    assert documented - served <= SOMETIMES_SERVED


def test_every_cause_of_loss_has_its_remedy(daemon):
    guide = (ROOT / "docs" / "troubleshooting.md").read_text()
    causes = re.findall(r'cause="(\w+)"', scrape(daemon))
    assert len(causes) > 5
    assert [cause for cause in causes if f"`{cause}`" not in guide] == []


def test_every_field_is_documented(daemon, workload):
    process = workload(LEAK, "--hold", "60", "3", "4096")
    count_is(daemon, process.pid, 3)
    text = section(page("srtleakctl.1"), "JSON")
    answers = {
        "processes": daemon.ctl("ps"),
        "sites": daemon.ctl("sites", process.pid),
        "allocations": daemon.ctl("allocs", process.pid),
        "limits": daemon.ctl("status"),
        "checks": daemon.ctl("doctor"),
    }
    for items, answer in answers.items():
        fields = [*answer] + ([*answer[items][0]] if items != "limits" else [])
        missing = [field for field in fields if not re.search(rf"\b{field}\b", text)]
        assert missing == [], items
