"""A report as one self-contained HTML page."""

from __future__ import annotations

from importlib.resources import files

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rlhf_service.report.charts import charts_of
from rlhf_service.report.collect import JobReport
from rlhf_service.report.policy import CONTENT_SECURITY_POLICY


def page(report: JobReport) -> str:
    """HTML without a request to anywhere. Text of models and users is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(
        files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    )
    charts = {
        stage.name: [(chart.title, Markup(chart.svg)) for chart in charts_of(stage)]
        for stage in report.stages
    }
    spec = yaml.safe_dump(report.spec, sort_keys=False, allow_unicode=True)
    return template.render(report=report, charts=charts, spec=spec, policy=CONTENT_SECURITY_POLICY)
