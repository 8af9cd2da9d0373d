#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets and prints a table; exit status 1 where one of them has found something.

usage: run.py [--seconds N | --runs N] [TARGET...]   default: 60 seconds each

What reaches new code is kept in build/fuzz/corpus, where the next run goes on; inputs that break a
target are in build/fuzz/findings.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "fuzz"
TARGETS = sorted(p.stem for p in (ROOT / "tests" / "fuzz").glob("*.c"))

LIBRARY = """
int cudaMalloc(void **p, unsigned long n) { *p = 0; return (int)n; }
int cudaFree(void *p) { return p != 0; }
int cuMemAlloc_v2(void **p, unsigned long n) { return cudaMalloc(p, n); }
int not_of_interest;
"""
LONG_PATH = b"/kubepods.slice/kubepods-pod0123456789abcdef0123456789abcdef01.slice/cri-containerd-"
SEEDS = {
    "config": [(ROOT / "packaging" / "srtleak.conf").read_bytes(), b"listen = [::1]:9748\n"],
    "http": [b"localhost:80", b"[::1]:9", b"application/openmetrics-text;q=0.5,text/plain;q=1"],
    "request": [
        b'{"method":"%s","parameters":{"pid":1,"limit":2,"history":true},"more":true}' % name
        for name in (b"ps", b"sites", b"allocs", b"status", b"watch", b"track", b"untrack")
    ],
    "stack": [bytes(512), b"\x01" + b"A" * 300 + bytes(300)],
    "text": [
        b"\x00" + LONG_PATH + b"a" * 64 + b".scope",
        b"\x01A=b\0CUDA_VISIBLE_DEVICES=0,1\0",
        b"\x02GPU-01234567,1",
        b"\x03Model: \t\t A\nGPU UUID: \t GPU-01234567-89ab-cdef-0123-456789abcdef\n",
        b"\x04python\0--api-key\0x\0https://u:p@h/?token=1\0",
        b"\x05_ZN2at6native5emptyEv",
        b"\x06\x00\x00\x00\x00\x80\x00\xf0\x01\x02",
        b"\x07\xc3\xa4\xe2\x82\xac",
    ],
}


def elf_seeds():
    """Small libraries, with all that is read of them; and their first half."""
    made = BUILD / "library.so"
    for flags in ([], ["-Wl,--hash-style=sysv"], ["-s"]):
        command = ["gcc", "-shared", "-nostdlib", "-Wl,-z,noseparate-code", "-Wl,-z,norelro"]
        subprocess.run(
            [*command, *flags, "-xc", "-", "-o", made], input=LIBRARY, text=True, check=True
        )
        yield made.read_bytes()
    yield made.read_bytes()[: made.stat().st_size // 2]


def write_seeds(target):
    folder = BUILD / "seeds" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, seed in enumerate(elf_seeds() if target == "elf" else SEEDS[target]):
        (folder / str(number)).write_bytes(seed)
    return folder


def fuzz(target, limits):
    corpus, findings = BUILD / "corpus" / target, BUILD / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    return subprocess.run(
        [BUILD / "fuzz" / target, *limits, "-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"]
        + ["-print_final_stats=1", f"-artifact_prefix={findings}/{target}-"]
        + [corpus, write_seeds(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1"},
    )


def figure(text, pattern):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    limits = (
        [f"-runs={arguments.runs}"] if arguments.runs else [f"-max_total_time={arguments.seconds}"]
    )
    targets = arguments.targets or TARGETS
    print(f"{'target':<10} {'executions':>12} {'a second':>9} {'edges':>6} {'inputs':>7}  found")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for target, result in zip(targets, pool.map(lambda t: fuzz(t, limits), targets)):
            text = result.stdout
            print(
                f"{target:<10} {figure(text, 'number_of_executed_units: *([0-9]+)'):>12}"
                f" {figure(text, 'average_exec_per_sec: *([0-9]+)'):>9}"
                f" {figure(text, 'cov: ([0-9]+)'):>6} {figure(text, 'corp: ([0-9]+)'):>7}"
                f"  {'nothing' if result.returncode == 0 else 'a failure, below'}",
                flush=True,
            )
            if result.returncode != 0:
                failed += 1
                print(text[-6000:])
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
