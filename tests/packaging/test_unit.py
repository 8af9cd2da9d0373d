# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: what it says holds together, and gives away no more than it must.

That it works, too, is tests/system's to show.
"""
import configparser
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, ROOT

SYSTEMD = ROOT / "packaging" / "systemd"
CAPABILITIES = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
# `systemd-analyze security`, in tenths; it weighs CAP_SYS_ADMIN lightly, hence the sets as well
EXPOSURE, EXPOSURE_OLDER_KERNELS = 25, 28


class Unit(configparser.RawConfigParser):
    """Keys may come more than once; then their values are joined, as systemd does with lists."""

    class Values(dict):
        def __setitem__(self, key, value):
            if key in self and isinstance(value, list):
                value = self[key] + value
            super().__setitem__(key, value)

    def __init__(self, *paths):
        super().__init__(strict=False, dict_type=self.Values, interpolation=None)
        self.optionxform = str
        self.read(paths)

    def words(self, key):
        return self["Service"][key].split()


@pytest.fixture
def units(tmp_path):
    """The unit with the daemon that was built, in a directory of its own."""
    text = (SYSTEMD / "srtleakd.service").read_text()
    path = tmp_path / "srtleakd.service"
    path.write_text(text.replace("/usr/sbin/srtleakd", str(BUILD / "srtleakd")))
    return path


def add_drop_in(unit):
    folder = unit.with_name(unit.name + ".d")
    folder.mkdir()
    shutil.copy(SYSTEMD / "older-kernels.conf", folder)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("drop_in", [False, True])
def test_verify(units, drop_in):
    if drop_in:
        add_drop_in(units)
    run = analyze("verify", "--man=no", units)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize("drop_in, limit", [(False, EXPOSURE), (True, EXPOSURE_OLDER_KERNELS)])
def test_exposure(units, drop_in, limit):
    if drop_in:
        add_drop_in(units)
    run = analyze("security", "--offline=true", f"--threshold={limit}", units)
    print(run.stdout.splitlines()[-1])
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("key", ["AmbientCapabilities", "CapabilityBoundingSet"])
def test_capabilities(key):
    assert set(Unit(SYSTEMD / "srtleakd.service").words(key)) == CAPABILITIES
    assert Unit(SYSTEMD / "older-kernels.conf").words(key) == ["CAP_SYS_ADMIN"]


def test_restarts_leave_everything_and_stops_nothing():
    service = Unit(SYSTEMD / "srtleakd.service")["Service"]
    assert (service["KillSignal"], service["RestartKillSignal"]) == ("SIGTERM", "SIGUSR1")
    assert service["Type"] == "notify" and service["Restart"] == "on-failure"


def test_statuses_that_no_retry_can_change():
    """As protocol.h numbers them: all but 0, stopped, and 1, failure."""
    header = (ROOT / "include" / "protocol.h").read_text()
    statuses = set(re.findall(r"DAEMON_\w+ = (\d+)", header)) - {"0", "1"}
    unit = Unit(SYSTEMD / "srtleakd.service")
    assert statuses and set(unit.words("RestartPreventExitStatus")) == statuses


def test_drop_in_tells_where_it_goes():
    """The path is that of the package's README, and of the system test."""
    path = "/etc/systemd/system/srtleakd.service.d/older-kernels.conf"
    for text in (
        SYSTEMD / "older-kernels.conf",
        ROOT / "packaging" / "debian" / "README.Debian",
        ROOT / "tests" / "system" / "guest.sh",
    ):
        assert path in pathlib.Path(text).read_text(), text
