#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs all tests and adds up what they say; the last line is the sum.

usage: run.py [--only WORD]   WORD: a part of the name of the steps to run (unit, lint, integration …)

Unit tests are cmocka programs that speak TAP; the others are pytest's. Everything that executes our
code runs twice: as built for users, and with AddressSanitizer and UndefinedBehaviorSanitizer.
In CI a unit test that is skipped counts as failed, for CI has all that it needs.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
IN_CI = bool(os.environ.get("CI"))
ENVIRONMENT = {
    **os.environ,
    "SIMCUDA_DIR": str(BUILD / "simcuda"),
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class Sum:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(arguments, **environment):
    return subprocess.run(
        [str(a) for a in arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def unit_program(program):
    """One cmocka program. A crash leaves planned tests without a result: at least one failure."""
    result = run([program], CMOCKA_MESSAGE_OUTPUT="TAP")
    lines = re.findall(r"^(ok|not ok) \d+(.*)$", result.stdout, re.MULTILINE)
    found = Sum()
    for word, rest in lines:
        if "# SKIP" in rest and not IN_CI:
            found.skipped += 1
            print(f"    skipped: {program.name}{rest}")
        elif word == "ok" and "# SKIP" not in rest:
            found.passed += 1
        else:
            found.failed += 1
    if result.returncode != 0 and found.failed == 0:
        found.failed = 1
    if not lines and result.returncode == 0:
        found.failed = 1
    if found.failed:
        print(f"    {program.name} (exit {result.returncode}):\n{result.stdout}")
    return found


def unit(build):
    total = Sum()
    programs = [p for p in sorted((build / "unit").iterdir()) if p.is_file() and not p.suffix]
    for program in programs:
        total += unit_program(program)
    return total if programs else Sum(failed=1)


def pytest(paths, build):
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        result = run(
            ["/usr/bin/python3", "-m", "pytest", "-q", "-rsx", "-p", "no:cacheprovider"]
            + [f"--junitxml={report.name}", *paths],
            SRTLEAK_BIN=str(build),
            SRTLEAKCTL=str(build / "srtleakctl"),
        )
        try:
            suite = xml.etree.ElementTree.parse(report.name).getroot().find("testsuite")
            count = {k: int(suite.get(k)) for k in ("tests", "failures", "errors", "skipped")}
        except (xml.etree.ElementTree.ParseError, AttributeError):
            count = {"tests": 0, "failures": 1, "errors": 0, "skipped": 0}
    failed = count["failures"] + count["errors"]
    passed = max(count["tests"] - failed - count["skipped"], 0)
    if failed or passed == 0 or result.returncode not in (0, 5):
        print(result.stdout)
        failed = max(failed, 1)
    else:
        for line in result.stdout.splitlines():
            if line.startswith(("SKIPPED", "XFAIL")):
                print(f"    {line}")
    return Sum(passed, failed, count["skipped"])


def lint():
    total = Sum()
    for target in ("lint-format", "lint-tidy"):
        result = run(["make", target])
        if result.returncode != 0:
            print(result.stdout)
        total += Sum(passed=int(result.returncode == 0), failed=int(result.returncode != 0))
    return total


PROBES_ALONE = ("contexts", "pools", "semantics")

STEPS = [
    ("lint", lint),
    ("packaging", lambda: pytest(["tests/packaging"], BUILD)),
    ("unit", lambda: unit(BUILD)),
    ("unit, sanitized", lambda: unit(BUILD / "sanitize")),
    ("client", lambda: pytest(["tests/unit"], BUILD)),
    ("client, sanitized", lambda: pytest(["tests/unit"], BUILD / "sanitize")),
    ("integration", lambda: pytest(["tests/integration"], BUILD)),
    # What the probes make of each call does not depend on how the daemon is built, nor do perf links,
    # which the kernel takes its time to remove.
    (
        "integration, sanitized",
        lambda: pytest(
            ["tests/integration", "-k", "not perf"]
            + [f"--ignore=tests/integration/test_{name}.py" for name in PROBES_ALONE],
            BUILD / "sanitize",
        ),
    ),
    ("e2e", lambda: pytest(["tests/e2e"], BUILD)),
    # What Prometheus and the dashboard make of the metrics does not depend on how we are built.
    (
        "e2e, sanitized",
        lambda: pytest(
            ["tests/e2e", "--ignore=tests/e2e/test_prometheus.py"], BUILD / "sanitize"
        ),
    ),
]


def main():
    parser = argparse.ArgumentParser(description="runs the tests")
    parser.add_argument("--only", default="", help="a part of the name of the steps to run")
    only = parser.parse_args().only
    total = Sum()
    for name, step in STEPS:
        if only not in name:
            continue
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        found = step()
        print(f"   {found} ({time.monotonic() - begin:.0f} s)", flush=True)
        total += found
    print(total)
    sys.exit(1 if total.failed or not total.passed else 0)


main()
