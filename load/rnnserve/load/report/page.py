"""Renders the report's page from `templates/page.html.jinja`."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from rnnserve.load.load_result import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.report.charts import draw_charts
from rnnserve.load.results import list_findings, result_cells, result_columns
from rnnserve.load.results_document import RunDescription
from rnnserve.load.units import format_duration, format_rate
from rnnserve.load.verdict import Decision

__all__ = ["render_report"]

_CLASSES = {Decision.MET: "good", Decision.MISSED: "bad", Decision.INCONCLUSIVE: "open"}
"""The CSS class for each verdict."""


def render_report(test: LoadTest, run: RunDescription) -> str:
    """Return the page for a test with at least one result. Equal results give equal pages, byte for byte."""
    environment = Environment(
        loader=PackageLoader("rnnserve.load.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = test.best or test.pooled[-1]
    return environment.get_template("page.html.jinja").render(
        run=run,
        verdict=_verdict(test),
        findings=list_findings(test),
        tiles=_key_figures(shown),
        charts=draw_charts(test, shown),
        columns=result_columns(test),
        rows=[result_cells(test, result) for result in test.pooled],
        facts={"Generator": run.machine, "Server": _server_facts(run), "Workload": run.workload},
    )


def _verdict(test: LoadTest) -> dict[str, str]:
    """Return the CSS class and the text of the verdict."""
    objective, decision = test.objective, test.decision
    if objective is None or decision is None:
        return {"class": "good", "text": "Passed"} if test.passed else {"class": "bad", "text": "Failed"}
    text = f"{str(decision).capitalize()}: {objective.text}"
    if decision is Decision.MET and not test.passed:
        return {"class": "bad", "text": f"Failed: answers were wrong. {text}"}
    return {"class": _CLASSES[decision], "text": text}


def _key_figures(result: LoadResult) -> dict[str, str]:
    latency = result.latency
    jitter = {
        "p99.9": format_duration(latency.percentile(99.9)),
        "deviation": format_duration(latency.deviation),
        "p99-p50": format_duration(result.jitter),
        "send lag p99": format_duration(result.lag.percentile(99)),
    }
    return {
        result.load.unit: format_rate(result.load.size),
        "answers/s": format_rate(round(result.throughput)),
        "p50": format_duration(latency.percentile(50)),
        "p99": format_duration(latency.percentile(99)),
        **(jitter if result.load.sessions else {}),
        "max": format_duration(latency.max),
        "errors": f"{result.statistics.failed:,}",
    }


def _server_facts(run: RunDescription) -> dict[str, str]:
    facts = {"address": run.address, "server": " ".join(run.server).strip()}
    for model in run.models:
        provider = model.properties.get("provider")
        versions = f"version {', '.join(model.versions)}" if model.versions else ""
        parts = [versions, model.platform, f"on {provider}" if provider else ""]
        facts[model.name] = ", ".join(part for part in parts if part)
    return facts
