#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs all tests and adds up what they say; the last line is the sum.

usage: run.py [--only WORD]   WORD: a part of the name of the steps to run (unit, lint, integration …)

Unit tests are cmocka programs that speak TAP; the others are pytest's. What executes our code runs
twice: as built for users, and, where that may show something else, with AddressSanitizer and
UndefinedBehaviorSanitizer.
In CI a unit test that is skipped counts as failed, for CI has all that it needs.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TOLD = threading.Lock()  # one step speaks at a time
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

    def __add__(self, other):
        return Sum(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

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
    told = ""
    result = run([program], CMOCKA_MESSAGE_OUTPUT="TAP")
    lines = re.findall(r"^(ok|not ok) \d+(.*)$", result.stdout, re.MULTILINE)
    found = Sum()
    for word, rest in lines:
        if "# SKIP" in rest and not IN_CI:
            found.skipped += 1
            told += f"    skipped: {program.name}{rest}\n"
        elif word == "ok" and "# SKIP" not in rest:
            found.passed += 1
        else:
            found.failed += 1
    if result.returncode != 0 and found.failed == 0:
        found.failed = 1
    if not lines and result.returncode == 0:
        found.failed = 1
    if found.failed:
        told += f"    {program.name} (exit {result.returncode}):\n{result.stdout}\n"
    return found, told


def unit(build):
    total, told = Sum(), ""
    programs = [p for p in sorted((build / "unit").iterdir()) if p.is_file() and not p.suffix]
    for program in programs:
        found, text = unit_program(program)
        total += found
        told += text
    return total if programs else Sum(failed=1), told


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
    told = result.stdout
    if failed or passed == 0 or result.returncode not in (0, 5):
        failed = max(failed, 1)
    else:
        lines = [x for x in told.splitlines() if x.startswith(("SKIPPED", "XFAIL"))]
        told = "".join(f"    {line}\n" for line in lines)
    return Sum(passed, failed, count["skipped"]), told


def lint():
    total, told = Sum(), ""
    for target in ("lint-format", "lint-tidy", "lint-cppcheck"):
        result = run(["make", target])
        if result.returncode != 0:
            told += result.stdout
        total += Sum(passed=int(result.returncode == 0), failed=int(result.returncode != 0))
    return total, told


def fuzz():
    """A short run of each target, which finds what was broken, and little that is new."""
    result = run([ROOT / "tests" / "fuzz" / "run.py", "--runs", "20000"])
    found = len(re.findall(r"  a failure, below$", result.stdout, re.MULTILINE))
    passed = len(re.findall(r"  nothing$", result.stdout, re.MULTILINE))
    if passed == 0 or (result.returncode != 0 and found == 0):
        found = max(found, 1)
    return Sum(passed=passed, failed=found), result.stdout if found else ""


def without(directory, *files):
    return [f"--ignore=tests/{directory}/test_{name}.py" for name in files]


# These look at one process each, and how others are busy does not matter to them.
OF_ONE_PROCESS = ["contexts", "context_ends", "pools", "semantics", "streams"]

# What the probes make of each call does not depend on how the daemon is built, nor do perf links,
# and those of many libraries, which the kernel takes its time to remove; nor for how long what does
# not answer is left alone, what Prometheus and the dashboard make of the metrics, how leaks grow, and
# what the script for hosts with a GPU reports.
INTEGRATION_ONCE = [
    *without("integration", *OF_ONE_PROCESS, "api_table", "budget", "harmless"),
    "-k",
    "not perf and not two_threads and not never_return and not SIGKILL-20"
    " and not one_that_comes and not copies_of and not copies_that and not many_threads and not forks"
    " and not library_in_one and not come_round and not while_one_is_patched"
    " and not overlays_of_root",
]
# Likewise; and whose a name was is not always known to a daemon that is slow and busy.
E2E_ONCE = [
    *without("e2e", "prometheus", "growth", "gpu_script"),
    "-k",
    "not nothing_to_take and not in_the_place",
]

# These place no probes: they run beside the others.
BESIDE = [
    ("lint", lint),
    ("fuzz", fuzz),
    ("packaging", lambda: pytest(["tests/packaging"], BUILD)),
    ("unit", lambda: unit(BUILD)),
    ("unit, sanitized", lambda: unit(BUILD / "sanitize")),
    ("client", lambda: pytest(["tests/unit"], BUILD)),
    ("client, sanitized", lambda: pytest(["tests/unit"], BUILD / "sanitize")),
]
# Those of a row run at once, as their tests don't mind others' processes and daemons; the rows one
# after the other.
STEPS = [
    [
        (
            "integration",
            lambda: pytest(["tests/integration", *without("integration", *OF_ONE_PROCESS)], BUILD),
        )
    ],
    [
        (
            "integration, calls",
            lambda: pytest([f"tests/integration/test_{n}.py" for n in OF_ONE_PROCESS], BUILD),
        ),
        ("e2e", lambda: pytest(["tests/e2e"], BUILD)),
        ("e2e, sanitized", lambda: pytest(["tests/e2e", *E2E_ONCE], BUILD / "sanitize")),
    ],
    [
        (
            "integration, sanitized",
            lambda: pytest(["tests/integration", *INTEGRATION_ONCE], BUILD / "sanitize"),
        )
    ],
]


def run_step(name, step):
    begin = time.monotonic()
    with TOLD:
        print(f"-- {name} begins", flush=True)
    found, text = step()
    with TOLD:
        print(f"== {name}\n{text}   {found} ({time.monotonic() - begin:.0f} s)", flush=True)
    return found


def run_steps(steps, only, total):
    for name, step in steps:
        if only in name:
            total += run_step(name, step)
    return total


def run_at_once(steps, only):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sums = pool.map(lambda step: run_steps([step], only, Sum()), steps)
        return sum(sums, Sum())


def main():
    parser = argparse.ArgumentParser(description="runs the tests")
    parser.add_argument("--only", default="", help="a part of the name of the steps to run")
    only = parser.parse_args().only
    with concurrent.futures.ThreadPoolExecutor() as pool:
        beside = pool.submit(run_steps, BESIDE, only, Sum())
        total = Sum()
        for steps in STEPS:
            total += run_at_once(steps, only)
        total += beside.result()
    print(total)
    sys.exit(1 if total.failed or not total.passed else 0)


main()
