# SPDX-License-Identifier: Apache-2.0
"""What a real Prometheus makes of the daemon's metrics, of the shipped alerts and the dashboard."""
import json
import re

import pytest
import yaml
from conftest import BUILD, LEAK, ROOT, SMALL, need, wait_until
from prom import RULES, Prometheus, promtool, scaled_rules
from wire import http, parse_metrics

PACKAGED = ROOT / "packaging"
PYTHON = "/usr/bin/python3.11"
SERVER = ROOT / "tests" / "workloads" / "server.py"
HOSTILE = ROOT / "tests" / "workloads" / "hostile.py"
MINUTE_MS = 120  # a minute of the rules: their windows become 3.6 s


@pytest.fixture
def prometheus(tmp_path):
    started = []

    def start(daemon, **how):
        directory = tmp_path / f"prometheus{len(started)}"
        directory.mkdir()
        if "minute_ms" in how:
            how = {"rules": scaled_rules(directory, how["minute_ms"])}
        started.append(Prometheus(directory, daemon.port, **how))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def server(workload):
    """Starts the workload server under a load of its own."""

    def start(leak, rate=40):
        process = workload(PYTHON, SERVER, "--leak", leak, "--requests-per-second", rate)
        process.line()
        return process

    return start


def alerts_of(path):
    return {r["alert"]: r for g in yaml.safe_load(path.read_text())["groups"] for r in g["rules"]}


def test_the_rules_do_as_they_should():
    run = promtool("test", "rules", "tests.yml", cwd=RULES.parent)
    assert run.returncode == 0, run.stdout


def test_every_alert_is_tested_both_ways():
    tests = yaml.safe_load((RULES.parent / "tests.yml").read_text())["tests"]
    expected = [t for test in tests for t in test["alert_rule_test"]]
    fires = {t["alertname"] for t in expected if t.get("exp_alerts")}
    silent = {t["alertname"] for t in expected if not t.get("exp_alerts")}
    assert fires == silent == set(alerts_of(RULES))


def test_every_alert_says_what_to_do():
    for name, rule in alerts_of(RULES).items():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        commands = set(re.findall(r"srtleakctl ([a-z]+)", rule["annotations"]["runbook"]))
        assert commands <= {"ps", "sites", "allocs", "status", "doctor"}
        assert commands or "srtleak.conf" in rule["annotations"]["runbook"], name


def test_the_example_configuration_is_one(tmp_path):
    text = (PACKAGED / "prometheus" / "scrape.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/srtleak.rules.yml", str(RULES)))
    run = promtool("check", "config", config)
    assert run.returncode == 0 and "6 rules found" in run.stdout, run.stdout


def test_prometheus_reads_what_the_daemon_knows(daemon, prometheus, workload):
    process = workload(LEAK, "--hold", "300", "3", "4096")
    process.line()
    process.line()
    wait_until(lambda: len(daemon.allocs(process.pid)) == 3, "three allocations")
    prom = prometheus(daemon)
    wait_until(lambda: prom.query("srtleak_build_info"), "a scrape")
    assert [value for _, value in prom.query("up")] == [1]
    ((labels, value),) = prom.query(f'srtleak_outstanding_bytes{{pid="{process.pid}"}}')
    assert value == 3 * 4096
    assert (labels["comm"], labels["kind"]) == ("leak", "device")
    # It asks for OpenMetrics (a counter's name has no _total there), and no sample is lost, nor is
    # any in the classic format. Other processes of this host come and go meanwhile.
    kinds = prom.get("targets/metadata", metric="srtleak_allocations")
    assert {k["type"] for k in kinds} == {"counter"}
    wait_until(
        lambda: prom.query("scrape_samples_scraped")[0][1]
        == len(parse_metrics(http(daemon.port).text)),
        "as many samples as the daemon has",
    )


HOSTILE_NAMES = ['a"} 1\\n\n#', "\\\\\n\"{}=,", "é\u202e{{.}}"]


def test_hostile_names_arrive_as_they_are(daemon, prometheus, workload):
    processes = {}
    for name in HOSTILE_NAMES:
        process = workload(PYTHON, HOSTILE, name)
        process.line()
        wait_until(
            lambda p=process.pid: (daemon.process_row(p) or {}).get("python"), "it is known"
        )
        process.step()
        process.line()
        processes[process.pid] = name
    for pid in processes:
        wait_until(lambda p=pid: daemon.process_row(p) and daemon.allocs(p), "its allocation")
    prom = prometheus(daemon)
    for pid, name in processes.items():
        ((labels, _),) = wait_until(
            lambda p=pid: prom.query(f'srtleak_site_outstanding_bytes{{pid="{p}"}}'), "a scrape"
        )
        short = name.encode()[:15].decode(errors="replace")
        row = daemon.process_row(pid)
        assert labels["comm"] == row["comm"] == short
        assert (labels["function"], labels["file"]) == (name, "tmp/" + name)
        assert len(prom.query(f'srtleak_process_info{{pid="{pid}"}}')) == 1


def of_process(firing, name, pid):
    return [labels for labels in firing.get(name, []) if labels.get("pid") == str(pid)]


def test_alerts_fire_on_a_live_leak_and_not_beside_it(daemon, prometheus, server, workload):
    steady, leaking = server("none"), server("prefix_cache")
    prom = prometheus(daemon, minute_ms=MINUTE_MS)
    wait_until(
        lambda: of_process(prom.firing(), "SrtleakMemoryGrows", leaking.pid),
        "the alert on growing memory",
        60,
    )
    (labels,) = of_process(prom.firing(), "SrtleakMemoryGrows", leaking.pid)
    assert labels["kind"] == "device" and labels["severity"] == "warning"
    # The steady server has been there for as long, and has worked.
    ((_, calls),) = prom.query(
        f'srtleak_allocations_total{{pid="{steady.pid}",kind="device"}}'
    )
    assert calls > 500
    history = prom.query(f'count_over_time(ALERTS{{pid="{steady.pid}"}}[5m])')
    assert history == []  # it was not even pending
    assert "SrtleakDown" not in prom.firing()


def test_alerts_fire_on_failures_and_on_a_silent_daemon(daemon, prometheus, workload):
    process = workload(LEAK, "--fail", "2", "--hold", "300", "3", "4096")
    process.line()
    process.line()
    prom = prometheus(daemon, minute_ms=MINUTE_MS)
    wait_until(
        lambda: of_process(prom.firing(), "SrtleakAllocationFailed", process.pid), "the alert"
    )
    assert "SrtleakDown" not in prom.firing()
    daemon.stop()
    wait_until(lambda: "SrtleakDown" in prom.firing(), "the alert on the daemon")


# The probes' time is known only while the host's kernel.bpf_stats_enabled is set.
MAY_BE_EMPTY = {"Time in the probes"}


def dashboard():
    return json.loads((PACKAGED / "grafana" / "srtleak.json").read_text())


def with_variables(text):
    values = {
        "__rate_interval": "4s", "__range": "30s", "window": "2s", "instance": ".*", "comm": ".*",
    }  # fmt: skip
    return re.sub(r"\$(\w+)", lambda m: values[m[1]], text)


def test_the_dashboard_is_in_order():
    board = dashboard()
    variables = {v["name"] for v in board["templating"]["list"]}
    panels = board["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= variables | {"__rate_interval", "__range"}, target["expr"]


def test_every_query_of_the_dashboard_has_an_answer(
    start_daemon, prometheus, server, workload, private_libraries, tmp_path
):
    daemon = start_daemon(binary=SMALL)  # whose history is there soon
    server("prefix_cache")
    process = workload(LEAK, "--fail", "2", "--hold", "300", "3", "4096")
    # One that the daemon sees late, so that something is partial.
    late = workload(LEAK, "--lib", private_libraries() / "libcudart.so.13", "--hold", "300", "1")
    churn = workload(
        BUILD / "workloads" / "churn", "--threads", "1", "--ledger", tmp_path / "ledger"
    )
    churn.step()
    for one in (process, late, churn):
        one.line()
        one.line()
    wait_until(lambda: daemon.process_row(late.pid), "the late one is found")
    assert "late_attach" in daemon.process_row(late.pid)["partial"]
    prom = prometheus(daemon)
    ((_, first),) = wait_until(lambda: prom.query("process_start_time_seconds"), "a scrape")
    assert first > 0
    queries = [
        (panel["title"], with_variables(target["expr"]))
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(queries) > 20
    for title, expression in queries:
        if title in MAY_BE_EMPTY:
            prom.query(expression)
        else:
            wait_until(lambda e=expression: prom.query(e), f"an answer to {title}: {expression}")
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(
                r"label_values\((.*), (\w+)\)", variable["query"]["query"]
            ).groups()
            assert prom.get(f"label/{label}/values", **{"match[]": with_variables(series)})
