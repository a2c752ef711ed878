"""Figures of a live job in a real Prometheus: every query of dashboards and alerts finds data."""

from __future__ import annotations

import re
import shutil

import pytest

from rlhf_service.job import JobStatus
from tests.helm.dashboards import DASHBOARDS, GPU
from tests.helm.promtool import ALERTS, measured, rules
from tests.integration.conftest import finish, wait_until
from tests.integration.prometheus import prometheus

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Debian's prometheus"
)

OCCASIONAL = {"RlhfRolesFail", "RlhfScoresFail"}
"""Alerts on what did not happen to this job, so that there is no series of it."""


def filled(query: str, job_id: str) -> str:
    """As Grafana would fill it in."""
    given = {"$job_id": job_id, "$__rate_interval": "30s", "$__range": "1h"}
    for name, value in given.items():
        query = query.replace(name, value)
    return re.sub(r"\[(5|15)m\]", "[30s]", query)


def test_every_query_of_dashboards_and_alerts_finds_data(service, client, pipeline_spec, tmp_path):
    spec = pipeline_spec.model_dump(mode="json")
    spec["stages"][2] |= {"steps": 12, "prompts_per_step": 12}
    scrapes = [
        {"job_name": "ray", "static_configs": [{"targets": [service.cluster.metrics_address]}]},
        {
            "job_name": "control-plane",
            "authorization": {"credentials": service.api_key},
            "static_configs": [{"targets": [service.url.removeprefix("http://")]}],
        },
    ]
    with prometheus(tmp_path, scrapes, ALERTS) as running:
        wait_until(running.alive, 60, "Prometheus")
        job_id = client.jobs.create(spec).id
        assert finish(client, job_id) is JobStatus.SUCCEEDED
        asked = {
            f"{board.name}: {panel.title}: {query}": query
            for board in DASHBOARDS
            for panel in board.panels
            if panel.needs != GPU
            for query in panel.queries.values()
        }
        asked |= {
            f"alert {rule['alert']}": measured(rule["expr"])
            for rule in rules()
            if rule["alert"] not in OCCASIONAL
        }
        empty = dict(asked)

        def all_found() -> bool:
            for name, query in list(empty.items()):
                if running.samples(filled(query, job_id)):
                    del empty[name]
            return not empty

        try:
            wait_until(all_found, 60, "data for every query")
        except pytest.fail.Exception:
            names = running.ask("label/__name__/values")
            pytest.fail(f"no data for {sorted(empty)}; there are {names}")
        health = running.ask("targets")["activeTargets"]
        assert [target["health"] for target in health] == ["up", "up"]
        # What is not a figure of this job carries no name of it.
        jobs = running.ask("label/job_id/values")
        assert job_id in jobs and all(name.startswith("job-") for name in jobs)
        evaluated = [rule for group in running.ask("rules")["groups"] for rule in group["rules"]]
        assert len(evaluated) == len(rules())
        assert all(rule["health"] == "ok" for rule in evaluated)
