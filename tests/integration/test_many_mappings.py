# SPDX-License-Identifier: Apache-2.0
"""Hundreds of processes that share a memory with as many mappings as there may be: looking at them
all takes long, and meanwhile the daemon answers and finds others.
"""
import time

import pytest
from conftest import BUILD, SIM, wait_until
from puppet import OUT, Puppet, partial

MAPS_MUCH = BUILD / "workloads" / "maps_much"
MIB = 1 << 20
MAPPINGS, PROCESSES = 60_000, 300
ANSWERS_WITHIN = 5  # seconds; on a busy machine


class Crowd:
    def __init__(self, workload, file):
        self.workload = workload(MAPS_MUCH, MAPPINGS, PROCESSES, file)
        assert self.workload.line()["mappings"] > MAPPINGS / 2

    def end(self):
        assert self.workload.end() == 0


@pytest.fixture
def start_puppet(workload, tmp_path, private_libraries):
    started = []

    def start(libraries=None):
        """With libraries that no daemon has seen, if not with these."""
        place = tmp_path / f"puppet{len(started)}"
        directory = libraries or private_libraries(f"private{len(started)}")
        started.append(Puppet.start(workload, place, SIMCUDA_DIR=str(directory)))
        return started[-1]

    return start


def slowest_answer(daemon, until):
    """Asks until that is so."""
    slowest = 0

    def asked():
        nonlocal slowest
        began = time.monotonic()
        daemon.ctl("status")
        slowest = max(slowest, time.monotonic() - began)
        return until()

    wait_until(asked, "it is found", patience=60)
    return slowest


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "before it starts"])
def test_answers_and_finds_others(workload, start_daemon, start_puppet, running):
    file = SIM / "libcudart.so.13" if running else "/bin/true"
    daemon = start_daemon() if running else None
    crowd = Crowd(workload, file)
    daemon = daemon or start_daemon()
    for _ in range(3):
        puppet = start_puppet()
        slowest = slowest_answer(daemon, lambda p=puppet: p.pid in daemon.pids())
        assert slowest < ANSWERS_WITHIN
        puppet.cudaMalloc(OUT, MIB)
        wait_until(lambda p=puppet: len(daemon.allocs(p.pid)) == 1, "it is probed")
    crowd.end()


def test_they_map_the_library_that_others_use(
    workload, start_daemon, start_puppet, private_libraries
):
    """So often that nobody says they have left it as it is: the others are probed one by one, and
    all are again when they have ended.
    """
    libraries = private_libraries()
    crowd = Crowd(workload, libraries / "libcuda.so.1")
    first = start_puppet(libraries)
    daemon = start_daemon()
    second = start_puppet(libraries)
    for puppet in (first, second):
        assert slowest_answer(daemon, lambda p=puppet: p.pid in daemon.pids()) < ANSWERS_WITHIN
        assert partial(daemon, puppet.pid) == ["late_attach"]
        puppet.cudaSetDevice(0)
        puppet.cuMemAlloc_v2(OUT, MIB)
        wait_until(lambda p=puppet: len(daemon.allocs(p.pid)) == 1, "it is probed")
    crowd.end()

    def is_probed_from_the_start():
        fresh = start_puppet(libraries)
        fresh.cudaSetDevice(0)
        fresh.cuMemAlloc_v2(OUT, MIB)
        wait_until(lambda: fresh.pid in daemon.pids(), "it is found")
        return partial(daemon, fresh.pid) == []

    wait_until(is_probed_from_the_start, "all are probed again")
