# SPDX-License-Identifier: Apache-2.0
"""What the daemon says of the last minutes: histories, growth, the order by growth."""
import wire
from conftest import LEAK, ROOT, SMALL, wait_until

SERVER = ROOT / "tests" / "workloads" / "server.py"
SAMPLE_S = 10
SAMPLES_FOR_GROWTH = 7


def test_history_is_there_when_asked_for(daemon, workload):
    process = workload(LEAK, "--hold", "100", "--at-once", 10, 1 << 20)
    process.line()
    process.line()
    wait_until(lambda: daemon.process_row(process.pid), "it is tracked")
    assert "history" not in daemon.process_row(process.pid)

    def history():
        with wire.Connection(daemon.socket) as client:
            rows = client.stream("io.srtleak.Ps", "processes", history=True)
        (row,) = [p for p in rows if p["pid"] == process.pid]
        return row["history"]

    assert history()["interval_s"] == SAMPLE_S
    wait_until(lambda: 10 << 20 in history()["bytes"], "it is sampled", patience=2 * SAMPLE_S)
    with wire.Connection(daemon.socket) as client:
        (site,) = client.stream("io.srtleak.Sites", "sites", pid=process.pid, history=True)
        assert site["history"]["bytes"][-1] == 10 << 20
        assert site["growth_bytes_per_s"] is None  # for less than a minute
        for bad in (1, "yes", None):
            reply = client.call("io.srtleak.Ps", history=bad)
            assert reply["error"] == "org.varlink.service.InvalidParameter"


def test_growth_of_a_leak(start_daemon, workload):
    """A leaking and a steady site, told apart after as many samples as usually take a minute."""
    daemon = start_daemon(binary=SMALL)
    process = workload("/usr/bin/python3.11", SERVER, "--leak", "prefix_cache",
                       "--requests-per-second", "20")  # fmt: skip

    def growth():
        row = daemon.process_row(process.pid)
        return row and row["growth_bytes_per_s"]

    wait_until(growth, "growth is known", patience=2 * SAMPLES_FOR_GROWTH)
    assert growth() > 1 << 20

    def by_growth():
        return daemon.ctl("sites", process.pid, "--sort", "growth")["sites"]

    # A site is younger than its process by a sample or two.
    wait_until(lambda: by_growth()[0]["growth_bytes_per_s"], "growth of sites")
    sites = by_growth()
    assert sites[0]["python"][0]["function"] == "PrefixCache.insert"
    assert sites[0]["growth_bytes_per_s"] > 1 << 20
    # What comes and goes may be there in all of so few samples, on a machine that is busy.
    wait_until(
        lambda: abs(by_growth()[-1]["growth_bytes_per_s"]) < 1 << 10, "the others are steady"
    )
