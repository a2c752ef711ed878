"""Dashboards are those of their script; each alert fires on what it is for, and on nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from cluster.readings import FIGURES
from tests.helm.chart import CHART
from tests.helm.dashboards import DASHBOARDS, FOLDER, text_of
from tests.helm.promtool import ALERTS, measured, promtool, rules

ROOT = Path(__file__).parents[2]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs Debian's prometheus"
)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_dashboards_are_those_of_the_script(dashboard):
    assert (FOLDER / f"{dashboard.name}.json").read_text(encoding="utf-8") == text_of(dashboard)
    panels = json.loads(text_of(dashboard))["panels"]
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}
    assert len(places) == len(panels) == len({p["title"] for p in panels})


def test_every_figure_of_jobs_that_is_asked_for_is_one_that_they_give():
    asked = " ".join(q for d in DASHBOARDS for p in d.panels for q in p.queries.values())
    asked += " ".join(rule["expr"] for rule in rules())
    exported = {
        "ray_" + name + ending
        for name, figure in FIGURES.items()
        for ending in {
            "gauge": ("",),
            "counter": ("_total",),
            "histogram": ("_sum", "_count", "_bucket"),
        }[figure.kind]
    }
    assert set(re.findall(r"ray_rlhf_\w+", asked)) <= exported


# Each alert: series over some hours that make it fire, and others that do not.
MINUTES, EVERY = 180, 2
CASES = {
    "RlhfControlPlaneGone": ("other", "rlhf_reconcile_turn_age_seconds", "1", "1"),
    "RlhfReconcilerStuck": ("rlhf_reconcile_turn_age_seconds", "", "500", "2"),
    "RlhfClusterUnreachable": ("rlhf_cluster_up", "", "0", "1"),
    "RlhfQueueWaits": ("rlhf_queue_oldest_age_seconds", "", "5000", "300"),
    "RlhfJobsFail": ('rlhf_jobs{status="failed"}', "", "0+1", "7"),
    "RlhfApiFails": ('rlhf_http_requests_total{status="503"}', "", "0+60", "0"),
    "RlhfApiSlow": ('rlhf_http_request_duration_seconds_bucket{le="0.1"}', "", "0+1", "0+60"),
    "RlhfEventLoopBlocked": ('rlhf_event_loop_lag_seconds{instance="a"}', "", "3", "0.01"),
    "RlhfJobSilent": ('ray_rlhf_learners_silent_seconds{job_id="j"}', "", "1000", "10"),
    "RlhfTrainingUnwell": (
        'ray_rlhf_alarm_active{job_id="j",stage="ppo",alarm="kl"}', "", "1", "0",
    ),
    "RlhfRolesFail": (
        'ray_rlhf_role_failures_total{job_id="j",failed_role="rollout"}', "", "0+1", "2",
    ),
    "RlhfScoresFail": (
        'ray_rlhf_scores_total{job_id="j",outcome="failed"}', "", "0+60", "0+1",
    ),
    "RlhfCheckpointOld": ('ray_rlhf_checkpoint_timestamp_seconds{job_id="j"}', "", "0", "0+60"),
    "RlhfNodeMemoryLow": ('ray_node_mem_used{ip="a"}', "", "99", "50"),
    "RlhfNodeDiskLow": ('ray_node_disk_free{ip="a"}', "", "5", "80"),
}  # fmt: skip
BESIDE = {
    "RlhfApiFails": {'rlhf_http_requests_total{status="200"}': "0+60"},
    "RlhfApiSlow": {
        'rlhf_http_request_duration_seconds_bucket{le="5"}': "0+60",
        'rlhf_http_request_duration_seconds_bucket{le="+Inf"}': "0+60",
    },
    "RlhfScoresFail": {'ray_rlhf_scores_total{job_id="j",outcome="scored"}': "0+60"},
    "RlhfNodeMemoryLow": {'ray_node_mem_total{ip="a"}': "100"},
    "RlhfNodeDiskLow": {'ray_node_disk_usage{ip="a"}': "95"},
}


def series(name: str, value: str) -> dict[str, str]:
    step = "" if "+" in value else "+0"
    return {"series": name, "values": f"{value}{step}x{MINUTES // EVERY}"}


@needs_promtool
def test_prometheus_takes_the_rules():
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stderr
    assert CASES.keys() == {rule["alert"] for rule in rules()}


@needs_promtool
def test_each_alert_fires_on_what_it_is_for_and_is_silent_otherwise(tmp_path):
    tests = []
    for name, (bad_series, good_series, bad, good) in CASES.items():
        beside = [series(n, v) for n, v in BESIDE.get(name, {}).items()]
        ill = [series(bad_series, bad), *beside]
        well = [series(good_series or bad_series, good), *beside]
        for input_series, fires in ((ill, True), (well, False)):
            query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
            tests.append(
                {
                    "interval": f"{EVERY}m",
                    "input_series": input_series,
                    "promql_expr_test": [
                        {
                            "expr": query,
                            "eval_time": f"{MINUTES - EVERY}m",
                            "exp_samples": [{"labels": "{}", "value": int(fires)}],
                        }
                    ],
                }
            )
    shutil.copy(ALERTS, tmp_path / "alerts.yaml")
    body = {"rule_files": ["alerts.yaml"], "evaluation_interval": f"{EVERY}m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(body))
    done = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_alert_measures():
    assert measured("max(x) > 0.5") == "max(x)" and measured("absent(y)") == "y"
    for rule in rules():
        assert measured(rule["expr"]) != rule["expr"]


def test_every_alert_has_its_section_in_the_runbook():
    text = (ROOT / "docs" / "deploy" / "runbook.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Rlhf\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["runbook"].endswith("#" + rule["alert"].lower())
        assert len(sections[rule["alert"]].split()) >= 25  # a remedy, not a heading


def test_the_chart_ships_them():
    from tests.helm.chart import rendered

    values = Path(__file__).parent / "values" / "everything.yaml"
    objects = rendered("--values", str(values))
    shipped = {
        name: text
        for found in objects
        if found["kind"] == "ConfigMap"
        for name, text in found["data"].items()
        if name.endswith(".json")
    }
    assert {name: json.loads(text) for name, text in shipped.items()} == {
        f"{d.name}.json": json.loads(text_of(d)) for d in DASHBOARDS
    }
    [rule] = [found for found in objects if found["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
