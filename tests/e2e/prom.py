# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes one daemon every second."""
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from conftest import PATIENCE, ROOT, free_port, need, wait_until

RULES = ROOT / "packaging" / "prometheus" / "srtleak.rules.yml"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs: [{{job_name: srtleak, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""
# All durations of a rule file: of ranges, offsets, and what follows `for` and `interval`.
DURATION = re.compile(r"(\[|offset |for: |interval: )(\d+)m\b")


def promtool(*arguments, **how):
    need(shutil.which("promtool"), "promtool")
    return subprocess.run(
        ["promtool", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, **how
    )  # fmt: skip


def scaled_rules(directory, milliseconds_a_minute):
    """The shipped rules, only that a minute of theirs is shorter."""
    text, n = DURATION.subn(
        lambda m: f"{m[1]}{int(m[2]) * milliseconds_a_minute}ms", RULES.read_text()
    )
    assert n > 10
    path = directory / "rules.yml"
    path.write_text(text)
    return path


class Prometheus:
    def __init__(self, directory, daemon_port, rules=RULES):
        need(shutil.which("prometheus"), "prometheus")
        self.url = f"http://127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        config.write_text(CONFIG.format(rules=rules, port=daemon_port))
        self.log_path = directory / "prometheus.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={config}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self.is_ready, "Prometheus is ready")

    def is_ready(self):
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, what, **parameters):
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression):
        """[(labels, value)] of an instant query; labels without job and instance of the target."""
        found = self.get("query", query=expression)["result"]
        return [
            ({k: v for k, v in r["metric"].items() if k not in ("job", "instance")},
             float(r["value"][1]))
            for r in found
        ]  # fmt: skip

    def firing(self):
        """{alert name: [labels]}"""
        found = {}
        for alert in self.get("alerts")["alerts"]:
            if alert["state"] == "firing":
                labels = dict(alert["labels"])
                found.setdefault(labels.pop("alertname"), []).append(labels)
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
