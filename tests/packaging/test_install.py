# SPDX-License-Identifier: Apache-2.0
"""`make install`, `make uninstall`, `make deb`."""
import os
import subprocess

import pytest

from conftest import BUILD, ROOT

ALWAYS = {
    "etc/srtleak/srtleak.conf": 0o644,
    "usr/bin/srtleakctl": 0o755,
    "usr/lib/sysusers.d/srtleak.conf": 0o644,
    "usr/lib/systemd/system/srtleakd.service": 0o644,
    "usr/lib/tmpfiles.d/srtleak.conf": 0o644,
    "usr/sbin/srtleakd": 0o755,
    "usr/share/doc/srtleak/examples/older-kernels.conf": 0o644,
    "usr/share/doc/srtleak/troubleshooting.md": 0o644,
}
# Where each kind of file goes, as far as there are some.
PLACES = {
    "packaging/completions/*": "usr/share/bash-completion/completions/{name}",
    "packaging/prometheus/s*.yml": "usr/share/srtleak/prometheus/{name}",
    "packaging/grafana/*.json": "usr/share/srtleak/grafana/{name}",
    "packaging/man/*.1.scd": "usr/share/man/man1/{stem}",
    "packaging/man/*.5.scd": "usr/share/man/man5/{stem}",
    "packaging/man/*.8.scd": "usr/share/man/man8/{stem}",
}
CONFIGURATION = "etc/srtleak/srtleak.conf"


def make(*arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def tree(directory):
    return {
        str(path.relative_to(directory)): path.stat().st_mode & 0o7777
        for path in directory.rglob("*")
        if not path.is_dir()
    }


def expected():
    files = dict(ALWAYS)
    for pattern, place in PLACES.items():
        for path in ROOT.glob(pattern):
            files[place.format(name=path.name, stem=path.stem)] = 0o644
    return files


def test_install_and_uninstall(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    assert tree(tmp_path) == expected()
    (tmp_path / CONFIGURATION).write_text("# an administrator's\n")
    make("install", f"DESTDIR={tmp_path}")
    assert (tmp_path / CONFIGURATION).read_text() == "# an administrator's\n"
    make("uninstall", f"DESTDIR={tmp_path}")
    assert list(tree(tmp_path)) == [CONFIGURATION], "only the configuration stays"


def test_other_prefix(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/srtleak")
    unit = tmp_path / "opt/srtleak/lib/systemd/system/srtleakd.service"
    assert "\nExecStart=/opt/srtleak/sbin/srtleakd\n" in unit.read_text()
    assert (tmp_path / "opt/srtleak/sbin/srtleakd").exists()


@pytest.fixture(scope="module")
def package():
    make("deb")
    (path,) = (BUILD / "deb").glob("srtleak_*.deb")
    return path


def output(*arguments):
    run = subprocess.run(
        [str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def test_lintian(package):
    (changes,) = package.parent.glob("*.changes")
    output("lintian", "--allow-root", "--fail-on", "error,warning", changes)


def test_hardening(package):
    # Debian's compiler makes position-independent programs without being told on the command line.
    output("blhc", "--bindnow", package.parent / "build.log")
    for program in ("srtleakd", "srtleakctl"):
        elf = output("readelf", "-hdW", next(package.parent.glob(f"*/debian/srtleak/usr/*bin/{program}")))
        assert "DYN (Position-Independent Executable file)" in elf and "BIND_NOW" in elf


def test_conffiles(package):
    conffiles = output("dpkg-deb", "-I", package, "conffiles").split()
    assert conffiles == ["/" + CONFIGURATION]


def test_package_holds_what_is_installed(package):
    listed = {
        line.split()[-1][2:].removesuffix(".gz")
        for line in output("dpkg-deb", "-c", package).splitlines()
        if not line.endswith("/")
    }
    wanted = {path.removeprefix("usr/") if "systemd/system" in path else path for path in expected()}
    documentation = {f"usr/share/doc/srtleak/{name}" for name in ("README.Debian", "changelog", "copyright")}
    assert listed == wanted | documentation


def test_accounts_are_made_before_the_service_starts(package):
    script = output("dpkg-deb", "-I", package, "postinst")
    steps = ["systemd-sysusers", "systemd-tmpfiles", "deb-systemd-invoke"]
    assert sorted(steps, key=script.index) == steps
