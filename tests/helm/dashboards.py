"""Grafana dashboards as code.

python -m tests.helm.dashboards        writes helm/rlhf-service/files/dashboards/*.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.helm.chart import CHART

FOLDER = CHART / "files" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 8, 7
GPU = "gpu"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: queries by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    needs: str = ""
    """What there must be for it to show anything."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of charts."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    variable: tuple[str, str] | None = None
    """(name, query) of what it is about."""


MINE = 'job_id="$job_id"'


def mine(metric: str) -> str:
    return f"max by (stage) (ray_{metric}{{{MINE}}})"


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(ray_{metric}_total{{{MINE}}}[$__rate_interval]))"


def mean_seconds(metric: str) -> str:
    total = f"sum(rate(ray_{metric}_sum{{{MINE}}}[$__rate_interval]))"
    return f"{total} / sum(rate(ray_{metric}_count{{{MINE}}}[$__rate_interval]))"


JOB = Dashboard(
    "job",
    "RLHF: a job",
    (
        Panel("Step", "none", {"{{stage}}": mine("rlhf_step")}),
        Panel("Score of sampled responses", "none", {"{{stage}}": mine("rlhf_score")}),
        Panel("Held-out reward", "none", {"{{stage}}": mine("rlhf_evaluation_reward")}),
        Panel("Loss", "none", {"{{stage}}": mine("rlhf_loss")}),
        Panel("Loss of the critic", "none", {"{{stage}}": mine("rlhf_value_loss")}),
        Panel("Pairs ranked right", "percentunit", {"{{stage}}": mine("rlhf_pair_accuracy_ratio")}),
        Panel("KL to the reference, nats a response", "none", {"{{stage}}": mine("rlhf_kl_nats")}),
        Panel("Entropy, nats a token", "none", {"{{stage}}": mine("rlhf_entropy_nats")}),
        Panel("Response length, tokens", "none", {"{{stage}}": mine("rlhf_response_tokens")}),
        Panel(
            "Shares",
            "percentunit",
            {
                "truncated": mine("rlhf_truncated_ratio"),
                "clipped": mine("rlhf_clipped_ratio"),
                "variance explained": mine("rlhf_explained_variance_ratio"),
            },
        ),
        Panel(
            "Gradient norm",
            "none",
            {
                "{{stage}} {{network}}": f"max by (stage, network) (ray_rlhf_gradient_norm{{{MINE}}})"
            },
        ),
        Panel("Learning rate", "sci", {"{{stage}}": mine("rlhf_learning_rate")}),
        Panel("Staleness, versions", "none", {"{{stage}}": mine("rlhf_staleness_versions")}),
        Panel(
            "Where a step's time goes",
            "s",
            {"{{phase}}": f"max by (phase) (ray_rlhf_phase_duration_seconds{{{MINE}}})"},
        ),
        Panel(
            "Of those seconds",
            "s",
            {
                "decode tail {{stage}}": mine("rlhf_decode_tail_duration_seconds"),
                "optimizer {{stage}}": mine("rlhf_optimizer_duration_seconds"),
            },
        ),
        Panel(
            "Useful work, share of what matrix products reach",
            "percentunit",
            {
                "{{stage}} {{of}}": f"max by (stage, of) (ray_rlhf_useful_work_ratio{{{MINE}}})",
            },
        ),
        Panel("Useful operations a second", "none", {"{{stage}}": mine("rlhf_flops_per_second")}),
        Panel("Step time", "s", {"mean": mean_seconds("rlhf_step_duration_seconds")}),
        Panel(
            "Tokens a second",
            "none",
            {
                "learnt {{stage}}": mine("rlhf_tokens_per_second"),
                "sampled {{stage}}": mine("rlhf_generated_tokens_per_second"),
            },
        ),
        Panel(
            "Tokens sampled by actor",
            "none",
            {"rollout {{rank}}": rate("rlhf_rollout_tokens", "rank")},
        ),
        Panel(
            "Pool requests",
            "s",
            {
                "generate": mean_seconds("rlhf_rollout_duration_seconds"),
                "score": mean_seconds("rlhf_score_duration_seconds"),
            },
        ),
        Panel("Scores a second", "none", {"{{outcome}}": rate("rlhf_scores", "outcome")}),
        Panel(
            "Learners silent for",
            "s",
            {"silent": f"max(ray_rlhf_learners_silent_seconds{{{MINE}}})"},
        ),
        Panel(
            "Age of the newest checkpoint",
            "s",
            {"age": f"time() - max(ray_rlhf_checkpoint_timestamp_seconds{{{MINE}}})"},
        ),
        Panel(
            "Alarms, failures, restarts",
            "none",
            {
                "alarm {{alarm}}": f"max by (alarm) (ray_rlhf_alarm_active{{{MINE}}}) or vector(0)",
                "{{failed_role}} {{how}}": "sum by (failed_role, how) "
                f"(increase(ray_rlhf_role_failures_total{{{MINE}}}[$__range])) or vector(0)",
            },
        ),
    ),
    ("job_id", "label_values(ray_rlhf_attempt, job_id)"),
)

FLEET = Dashboard(
    "fleet",
    "RLHF: the fleet",
    (
        Panel("Jobs", "none", {"{{status}}": "max by (status) (rlhf_jobs)"}),
        Panel(
            "First in the queue has waited", "s", {"waited": "max(rlhf_queue_oldest_age_seconds)"}
        ),
        Panel("Cluster answers", "bool", {"{{instance}}": "min by (instance) (rlhf_cluster_up)"}),
        Panel("Nodes", "none", {"nodes": "count(count by (ip) (ray_node_mem_total))"}),
        Panel("CPU", "percent", {"{{ip}}": "max by (ip) (ray_node_cpu_utilization)"}),
        Panel(
            "Memory",
            "percentunit",
            {"{{ip}}": "max by (ip) (ray_node_mem_used) / max by (ip) (ray_node_mem_total)"},
        ),
        Panel("GPU", "percent", {"{{ip}} {{GpuIndex}}": "ray_node_gpus_utilization"}, GPU),
        Panel(
            "GPU memory",
            "percentunit",
            {
                "{{ip}} {{GpuIndex}}": "ray_node_gram_used / "
                "(ray_node_gram_used + ray_node_gram_available)"
            },
            GPU,
        ),
        Panel(
            "Resources reserved",
            "none",
            {"{{Name}} {{State}}": 'sum by (Name, State) (ray_resources{Name=~"CPU|GPU"})'},
        ),
        Panel(
            "Object store",
            "bytes",
            {"{{Location}}": "sum by (Location) (ray_object_store_memory)"},
        ),
        Panel("Actors", "none", {"{{State}}": "sum by (State) (ray_actors)"}),
        Panel("Free disk of Ray", "bytes", {"{{ip}}": "min by (ip) (ray_node_disk_free)"}),
        Panel(
            "Tokens learnt a second",
            "none",
            {"{{job_id}}": "sum by (job_id) (rate(ray_rlhf_tokens_total[$__rate_interval]))"},
        ),
        Panel(
            "Tokens sampled a second",
            "none",
            {
                "{{job_id}}": "sum by (job_id) (rate(ray_rlhf_rollout_tokens_total[$__rate_interval]))"
            },
        ),
        Panel(
            "Learners silent for",
            "s",
            {"{{job_id}}": "max by (job_id) (ray_rlhf_learners_silent_seconds)"},
        ),
    ),
)

BUCKETS = "sum by (le) (rate(rlhf_http_request_duration_seconds_bucket[$__rate_interval]))"

CONTROL = Dashboard(
    "control-plane",
    "RLHF: the control plane",
    (
        Panel(
            "Requests a second",
            "reqps",
            {"{{route}}": "sum by (route) (rate(rlhf_http_requests_total[$__rate_interval]))"},
        ),
        Panel(
            "Answers by status",
            "reqps",
            {"{{status}}": "sum by (status) (rate(rlhf_http_requests_total[$__rate_interval]))"},
        ),
        Panel(
            "Until the answer begins",
            "s",
            {
                "median": f"histogram_quantile(0.5, {BUCKETS})",
                "99 %": f"histogram_quantile(0.99, {BUCKETS})",
            },
        ),
        Panel("Requests in progress", "none", {"{{instance}}": "rlhf_http_requests_in_progress"}),
        Panel("Open event streams", "none", {"{{instance}}": "rlhf_event_streams"}),
        Panel(
            "Events taken in a second",
            "none",
            {"{{via}}": "sum by (via) (rate(rlhf_events_ingested_total[$__rate_interval]))"},
        ),
        Panel(
            "Turns of the loop",
            "none",
            {
                "{{outcome}}": "sum by (outcome) (rate(rlhf_reconcile_turns_total[$__rate_interval]))"
            },
        ),
        Panel("Since the last turn", "s", {"{{instance}}": "rlhf_reconcile_turn_age_seconds"}),
        Panel("Leases held", "none", {"leases": "max(rlhf_leases_held)"}),
        Panel("Event loop lag", "s", {"{{instance}}": "rlhf_event_loop_lag_seconds"}),
        Panel("Memory", "bytes", {"{{instance}}": "process_resident_memory_bytes"}),
        Panel("CPU", "none", {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}),
    ),
)

DASHBOARDS = (JOB, FLEET, CONTROL)


def as_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The model that Grafana imports."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    variables: list[dict[str, Any]] = [source]
    if dashboard.variable is not None:
        name, query = dashboard.variable
        variables.append(
            {
                "name": name,
                "label": "Job",
                "type": "query",
                "datasource": SOURCE,
                "query": {"query": query, "refId": name},
                "refresh": 2,
                "sort": 2,
            }
        )
    return {
        "uid": f"rlhf-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["rlhf"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": [panel_at(index, panel) for index, panel in enumerate(dashboard.panels)],
    }


def panel_at(index: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(index, 24 // WIDTH)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": f"Needs {panel.needs} metrics." if panel.needs else "",
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(65 + n), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for n, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(as_grafana(dashboard), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for found in DASHBOARDS:
        (FOLDER / f"{found.name}.json").write_text(text_of(found), encoding="utf-8")
