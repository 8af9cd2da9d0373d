# SPDX-License-Identifier: Apache-2.0
"""That a process does not notice its probes: what it computes is the same with them and without,
however odd its calls are, and whatever becomes of the daemon meanwhile.
"""
import random
import select
import shutil
import signal
import time
import typing

import pytest
from conftest import BUILD, wait_until

ODD = BUILD / "workloads" / "odd"
LOAD = 50_000  # rounds, of a process under which daemons come and go
COUNTED = ("allocs_seen", "failed_allocs", "frees_unknown", "frees_matched", "failed_frees")

# How many rounds take a second or two with probes, on a small machine; perf links, and more of
# everything, are soak.py's.
ROUNDS = {
    "deep": 300,
    "signals": 100_000,
    "alt": 100_000,
    "longjmp": 30_000,
    "dying": 3000,
    "vfork": 6000,
    "fork": 3000,
    "traced": 30_000,
    "threads": 6000,
}


class Odd(typing.NamedTuple):
    name: str
    start: typing.Callable


@pytest.fixture
def odd(workload, tmp_path):
    """Starts the program as a CUDA runtime, which it is probed as; it waits for step()."""
    program = tmp_path / "libcudart.so.12"
    shutil.copy(ODD, program)

    def start(scenario, rounds):
        process = workload(program, scenario, rounds)
        assert process.line()["phase"] == "started"
        return process

    return Odd(program.name, start)


def outcome(process):
    said = process.line()
    assert process.end() == 0, said
    assert said.pop("wrong") == 0
    return said


def run_without(odd, scenario, rounds):
    process = odd(scenario, rounds)
    process.step()
    return outcome(process)


def is_probed(daemon, path):
    return any(p["binary"] == str(path) for p in daemon.ctl("status")["probes"])


def assert_same_results(odd, start_daemon, path, scenario, rounds, attach):
    expected = run_without(odd, scenario, rounds)
    daemon = start_daemon("--attach", attach, libraries=(str(path),))
    wait_until(lambda: is_probed(daemon, path), "it is probed")
    process = odd(scenario, rounds)
    process.step()
    assert outcome(process) == expected
    status = daemon.ctl("status")
    calls = sum(status["calls"][name] for name in COUNTED)
    # Some calls are lost on purpose; handlers and children make more than the program counts.
    assert calls + status["events"]["lost"]["lost_return"] > 0.6 * expected["calls"], status


def come_and_go(odd, start_daemon, path, pins, attach, cycles):
    """Sixteen threads call all the time, while daemons come and go, some of them killed."""
    rng, ends = random.Random(7), set()
    expected = run_without(odd, "threads", LOAD)

    def load():
        process = odd("threads", LOAD)
        process.step()
        return process

    process = load()
    for i in range(cycles):
        if select.select([process.process.stdout], [], [], 0)[0]:
            assert outcome(process) == expected
            process = load()
        directory = path.parent / f"daemon{i}"
        directory.mkdir()
        daemon = start_daemon(
            "--attach", attach, libraries=(str(path),), pins=pins, directory=directory
        )
        how = rng.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
        time.sleep(rng.random() / 10)  # at any moment
        ends.add(daemon.stop(how))
    assert outcome(process) == expected
    assert ends <= {0, -signal.SIGKILL}


@pytest.mark.parametrize("scenario", ROUNDS)
def test_same_results(odd, start_daemon, tmp_path, scenario):
    path = tmp_path / odd.name
    assert_same_results(odd.start, start_daemon, path, scenario, ROUNDS[scenario], "multi")


def test_attached_and_detached_under_load(odd, start_daemon, tmp_path, bpffs):
    path, pins = tmp_path / odd.name, bpffs / "harmless"
    come_and_go(odd.start, start_daemon, path, pins, "multi", 8)
