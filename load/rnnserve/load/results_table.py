"""Results as text for a terminal: an aligned table, and the findings after it."""

from collections.abc import Sequence

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.load.findings import list_findings
from rnnserve.load.histogram import Histogram
from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.sizing import size_line
from rnnserve.load.units import format_duration, format_rate

__all__ = ["format_results", "result_cells", "result_columns"]

_PERCENTILES = (50, 90, 99, 99.9)


def format_results(test: LoadTest) -> str:
    """Return one line per load, one per model if there are several, the findings, and how many servers more takes."""
    rows: list[Sequence[str]] = []
    for result in test.pooled:
        rows.append(result_cells(test, result))
        if len(test.models) > 1:
            latency_of = result.statistics.latency_of
            rows += [
                _model_cells(test, result, model, latency_of[model]) for model in test.models if model in latency_of
            ]
    table = format_aligned_table(result_columns(test), rows) if rows else ""
    size = size_line(test)
    findings = [*list_findings(test), *([] if size is None else [size])]
    return "\n".join([table, *(["", *findings] if findings else [])])


def result_columns(test: LoadTest) -> tuple[str, ...]:
    """Return the column headings of the table; the test must have at least one result."""
    first = test.results[0].load
    load = "sessions" if first.sessions else "in flight" if first.closed else "requests/s"
    percentiles = (f"p{percent:g}" for percent in _PERCENTILES)
    jitter = ("deviation", "p99-p50") if first.sessions else ()
    verdict = ("verdict",) if test.objective is not None else ()
    return (
        load,
        "answers/s",
        *percentiles,
        "max",
        *jitter,
        "errors",
        "wrong",
        "send lag p99",
        "generator CPU",
        *verdict,
    )


def result_cells(test: LoadTest, result: LoadResult) -> tuple[str, ...]:
    """Return the cells of one load's row, one per column."""
    statistics, load = result.statistics, result.load
    verdict = test.verdict(result)
    return (
        format_rate(load.rate) if load.rate else str(load.sessions or load.closed),
        format_rate(round(result.throughput)),
        *_latency_cells(statistics.latency),
        *(_jitter_cells(statistics.latency) if load.sessions else ()),
        f"{statistics.failed:,}",
        f"{statistics.faults:,}" if statistics.checked or statistics.compared else "-",
        "-" if load.closed else format_duration(statistics.lag.percentile(99)),
        "+".join(f"{fraction:.0%}" for fraction in statistics.cpu),
        *(() if verdict is None else (str(verdict.decision),)),
    )


def _model_cells(test: LoadTest, result: LoadResult, model: str, latency: Histogram) -> tuple[str, ...]:
    jitter = _jitter_cells(latency) if result.load.sessions else ()
    empty = [""] * (len(result_columns(test)) - 2 - len(_PERCENTILES) - 1 - len(jitter))
    return (f"  {model}", "", *_latency_cells(latency), *jitter, *empty)


def _jitter_cells(latency: Histogram) -> list[str]:
    values = [latency.deviation, latency.percentile(99) - latency.percentile(50)]
    return [format_duration(value) if latency.count else "-" for value in values]


def _latency_cells(latency: Histogram) -> list[str]:
    values = [*(latency.percentile(percent) for percent in _PERCENTILES), latency.max]
    return [format_duration(value) if latency.count else "-" for value in values]
