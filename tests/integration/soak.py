# SPDX-License-Identifier: Apache-2.0
"""`make soak`: ten million calls, and all that can happen to a daemon meanwhile.

$SOAK_OPERATIONS (default 10,000,000) calls, in equal parts with each kind of probe and with a ring
buffer that is always full; the tables are compared entry by entry after every round. $SOAK_SEED
repeats the choice of what happens when.
"""
import os
import time

import pytest
from conftest import SMALL
from ordeal import USUAL, WAYS, Ordeal
from test_harmless import ROUNDS, assert_same_results, come_and_go, odd

OPERATIONS = int(os.environ.get("SOAK_OPERATIONS") or 10_000_000)
SEED = int(os.environ.get("SOAK_SEED") or time.time())
PARTS = [("multi", USUAL), ("perf", USUAL), ("multi", SMALL)]
CALLS = 3000  # of each thread and round
ROUNDS_TOLD = 10
CYCLES = [("multi", 1000), ("perf", 10)]  # a library's perf links take a quarter of a minute to go
MORE = {"multi": 20, "perf": 3}  # times the rounds of test_harmless.py

__all__ = ["odd"]  # a fixture


@pytest.fixture(autouse=True)
def deadline():
    """None, in place of that of the other tests."""


def tell(what, figures):
    lost = ", ".join(f"{cause} {n:,}" for cause, n in figures.pop("lost").items()) or "nothing"
    words = ", ".join(f"{name} {n:,}" for name, n in figures.items() if n)
    print(f"{what}: {words}; lost: {lost}", flush=True)


@pytest.mark.parametrize("attach,binary", PARTS, ids=["multi", "perf", "small"])
def test_soak(restart, workload, tmp_path, attach, binary):
    began = time.monotonic()
    print(f"\n{attach} links, {binary.parent.name}: seed {SEED}", flush=True)
    ordeal = Ordeal(restart, workload, tmp_path, attach, SEED, binary=binary, calls=CALLS)
    rounds = 1
    while ordeal.churn.calls() < OPERATIONS / len(PARTS):
        ordeal.round(ordeal.random.choice(WAYS))
        rounds += 1
        if rounds % ROUNDS_TOLD == 0:
            tell(f"round {rounds}", ordeal.figures())
    tell(f"equal after each of {rounds} rounds in {time.monotonic() - began:.0f} s", ordeal.figures())


@pytest.mark.parametrize("attach", MORE)
@pytest.mark.parametrize("scenario", ROUNDS)
def test_same_results(odd, start_daemon, tmp_path, scenario, attach):
    rounds = ROUNDS[scenario] * MORE[attach]
    assert_same_results(odd.start, start_daemon, tmp_path / odd.name, scenario, rounds, attach)


@pytest.mark.parametrize("attach,cycles", CYCLES)
def test_attached_and_detached(odd, start_daemon, tmp_path, bpffs, attach, cycles):
    pins = bpffs / f"harmless-{attach}"
    come_and_go(odd.start, start_daemon, tmp_path / odd.name, pins, attach, cycles)
