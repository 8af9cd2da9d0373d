# SPDX-License-Identifier: Apache-2.0
"""The small inference server: each of its leaks comes out on top, and without one nothing grows."""
import pytest
from conftest import ROOT, wait_until
from wire import http, parse_metrics, select

SERVER = ROOT / "tests" / "workloads" / "server.py"
PYTHON = "/usr/bin/python3.11"

# (leak, function, what its line says, kind, bytes of a block, blocks until it is on top)
LEAKS = [
    ("prefix_cache", "PrefixCache.insert", "self.cuda.malloc(PREFIX_BLOCK_BYTES)", "device",
     4 << 20, 40),
    ("pinned", "StagingBuffers.take", "self.cuda.host_alloc(STAGING_BYTES)", "host", 256 << 10, 40),
    ("abort", "KVCache.alloc", "self.cuda.malloc(KV_TABLE_BYTES)", "device", 512 << 10, 160),
]  # fmt: skip
# Constant, and larger than any leak of a few seconds: not what one looks for.
CONSTANT = {"ModelRunner.load_layer", "KVCache.__init__"}


def start_server(workload, leak, rate):
    server = workload(PYTHON, SERVER, "--leak", leak, "--requests-per-second", rate)
    assert server.line()["pid"] == server.pid
    return server


def innermost(site):
    """The innermost frame of the server itself, and not of what it calls through."""
    return next((f for f in site["python"] if f["file"] == str(SERVER)), None)


def growing(daemon, pid, kind):
    sites = daemon.ctl("sites", pid, "--kind", kind, "--limit", "0")["sites"]
    assert [s["bytes"] for s in sites] == sorted((s["bytes"] for s in sites), reverse=True)
    return [s for s in sites if innermost(s) and innermost(s)["function"] not in CONSTANT]


@pytest.mark.parametrize("leak, function, source, kind, block, blocks", LEAKS)
def test_the_leak_is_on_top(daemon, workload, leak, function, source, kind, block, blocks):
    server = start_server(workload, leak, 400)

    def top():
        sites = growing(daemon, server.pid, kind)
        return sites and sites[0]["bytes"] >= blocks * block and sites[0]

    site = wait_until(top, f"{blocks} leaked blocks of {leak}")
    frame = innermost(site)
    line = SERVER.read_text().splitlines()[frame["line"] - 1]
    assert frame["function"] == function and source in line, frame
    assert site["bytes"] == site["count"] * block
    outermost = site["python"][-1]["function"]
    assert outermost == "Thread._bootstrap", "the scheduler runs on a thread of its own"
    assert "Scheduler.run_batch" in [f["function"] for f in site["python"]]


def calls(daemon, pid):
    samples = parse_metrics(http(daemon.port).text)
    return sum(v for _, v in select(samples, "srtleak_allocations_total", pid=str(pid)))


def test_without_a_leak_totals_stay_as_they_are(daemon, workload):
    server = start_server(workload, "none", 200)

    def usage():
        return daemon.process_row(server.pid)["outstanding"]

    # Weights, the KV pool and the prefix cache, which fills up to its bound and stays there.
    full = (8 * 32 << 20) + (1024 * 256 << 10) + (16 * 4 << 20)
    one_request = (4 << 20) + (4 << 20) + (512 << 10)
    wait_until(lambda: usage()["device"]["bytes"] >= full, "the prefix cache is full")
    for _ in range(3):
        seen = calls(daemon, server.pid)
        wait_until(lambda: calls(daemon, server.pid) > seen + 200, "two hundred more calls")
        assert full <= usage()["device"]["bytes"] <= full + one_request
        assert usage()["host"]["count"] == 1
