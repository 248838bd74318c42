"""Prometheus and Grafana: alerts that ring when they should and not else, panels about what capture really exports."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from connectors.prometheus import CaptureMetrics
from tests.infra import INFRA, compose
from tests.services import require

PROMETHEUS = INFRA / "prometheus"
RULES = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((INFRA / "grafana" / "dashboards" / "capture.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

ONE, TWO = 'instance="one:9108"', 'instance="two:9108"'
UP = 'up{job="nightshift-capture",%s}'
LAG = 'nightshift_capture_lag{partition="events/0",%s}'
FENCES = "nightshift_capture_fences_total{%s}"
LETTERS = 'nightshift_capture_entries_total{kind="dead_letters",%s}'
BATCHES = "nightshift_capture_batch_seconds_count{%s}"
BLIND = "nightshift_capture_blind_seconds{%s}"
QUIET = {UP % ONE: "1x60", LAG % ONE: "5x60", BATCHES % ONE: "0+10x60", FENCES % ONE: "0x60", LETTERS % ONE: "7x60"}
"""An hour in which nothing is wrong: one value a minute, in promtool's notation."""
CASES = {
    "quiet": ({}, set()),
    "one of two is away": ({UP % ONE: "0x60", UP % TWO: "1x60"}, set()),
    "none answers": ({UP % ONE: "0x60", UP % TWO: "0x60"}, {"NightshiftNoHealthyCapture"}),
    "there is none": ({UP % ONE: "_x60"}, {"NightshiftNoHealthyCapture"}),
    "events wait and nothing is stored": ({BATCHES % ONE: "600x60"}, {"NightshiftCaptureStalled"}),
    "nothing comes and nothing is stored": ({BATCHES % ONE: "600x60", LAG % ONE: "0x60"}, set()),
    "no process sees the log": ({BLIND % ONE: "0+60x60", BLIND % TWO: "0+60x60"}, {"NightshiftCaptureBlind"}),
    "one of two does not see the log": ({BLIND % ONE: "0+60x60", BLIND % TWO: "5x60"}, set()),
    "the lag rises": ({LAG % ONE: "10000+500x60"}, {"NightshiftLagRising"}),
    "a great lag falls": ({LAG % ONE: "90000-500x60"}, set()),
    "two tell the same lag": ({LAG % ONE: "7000+20x60", LAG % TWO: "7000+20x60"}, set()),
    "a rebalance fences each partition once": ({FENCES % ONE: "0x50 6x10", FENCES % TWO: "0x50 6x10"}, set()),
    "two groups fence each other": ({FENCES % ONE: "0+1x60", FENCES % TWO: "0+1x60"}, {"NightshiftFences"}),
    "a dead letter": ({LETTERS % ONE: "7x50 8x10"}, {"NightshiftDeadLetters"}),
    "a dead letter in the first batch": ({LETTERS % TWO: "_x50 1x10"}, {"NightshiftDeadLetters"}),
}


def promtool(*arguments: object) -> str:
    """What promtool says against its arguments; empty when all is well."""
    require("promtool", present=shutil.which("promtool") is not None, remedy="install Prometheus (Debian: prometheus)")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def exported() -> set[str]:
    """The names that Prometheus reads from a capture process."""
    families = CaptureMetrics().registry.collect()
    return {
        name + suffix
        for family in families
        for name, suffixes in [(family.name, {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]})]
        for suffix in suffixes.get(family.type, [""])
    }


def named(query: str) -> set[str]:
    return set(re.findall(r"\bnightshift_\w+", query))


def test_prometheus_understands_its_settings_and_rules() -> None:
    assert promtool("check", "config", PROMETHEUS / "prometheus.yaml") == ""


@pytest.mark.parametrize("case", CASES)
def test_an_alert_rings_when_it_should_and_no_other_does(case: str, tmp_path: Path) -> None:
    change, ringing = CASES[case]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in {**QUIET, **change}.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "58m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in ringing],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": [str(PROMETHEUS / "alerts.yaml")], "evaluation_interval": "1m", "tests": [test]})
    )
    assert promtool("test", "rules", tmp_path / "test.yaml") == ""


def test_every_metric_in_a_rule_or_a_panel_is_exported() -> None:
    queries = [*QUERIES, *(rule["expr"] for rule in RULES)]
    assert set().union(*map(named, queries)) <= exported()


def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert promtool("check", "rules", tmp_path / "panels.yaml") == ""


def test_the_dashboard_shows_everything_that_capture_counts() -> None:
    shown = set().union(*map(named, QUERIES))
    wanted = {"lag", "rows_total", "entries_total", "batch_seconds_bucket", "fences_total", "rebalances_total"}
    assert {f"nightshift_capture_{name}" for name in wanted | {"watermark_age_seconds"}} <= shown


def test_panels_have_a_place_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for a, b in combinations([panel["gridPos"] for panel in panels], 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_panels_read_from_the_provisioned_prometheus() -> None:
    (source,) = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    used |= {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose()["services"]


def test_dashboards_are_looked_for_where_they_are_mounted() -> None:
    (provider,) = yaml.safe_load((INFRA / "grafana/provisioning/dashboards/nightshift.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose()["services"]["grafana"]["volumes"]


def test_the_scraped_name_and_job_are_those_of_compose_and_of_the_alerts() -> None:
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"][0] in compose()["services"]
    assert any(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES)
