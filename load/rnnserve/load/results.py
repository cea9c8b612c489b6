"""The results of a load test as text for a terminal: an aligned table, and sentences after it."""

from collections.abc import Sequence

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.load.load_level import LatencyObjective
from rnnserve.load.load_result import FIGURES, LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.statistics import Durations
from rnnserve.load.units import format_duration, format_rate, format_share
from rnnserve.load.verdict import Decision, explain_generator_limit, judge

__all__ = ["format_results", "list_findings", "result_cells", "result_columns"]

_PERCENTILES = (50, 90, 99, 99.9)


def format_results(test: LoadTest) -> str:
    """Return a line per load (and per model if there are several), followed by the findings."""
    rows: list[Sequence[str]] = []
    for result in test.pooled:
        rows.append(result_cells(test, result))
        if len(test.models) > 1:
            of_models = [(model, result.statistics.latencies(at)) for at, model in enumerate(test.models)]
            rows += [_model_cells(test, result, model, latency) for model, latency in of_models if latency.count]
    table = format_aligned_table(result_columns(test), rows) if rows else ""
    findings = list_findings(test)
    return "\n".join([table, *(["", *findings] if findings else [])])


def result_columns(test: LoadTest) -> tuple[str, ...]:
    """Return the column headings of the table, for a test with at least one result."""
    first = test.results[0].load
    percentiles = (f"p{percent:g}" for percent in _PERCENTILES)
    jitter = ("deviation", "p99-p50") if first.sessions else ()
    verdict = ("verdict",) if test.objective is not None else ()
    last = ("errors", "wrong", "send lag p99", "generator CPU")
    return (first.unit, "answers/s", *percentiles, "max", *jitter, *last, *verdict)


def result_cells(test: LoadTest, result: LoadResult) -> tuple[str, ...]:
    """Return the cells of one load's row, one per column."""
    statistics, load = result.statistics, result.load
    verdict = test.verdict(result)
    return (
        format_rate(load.size),
        format_rate(round(result.throughput)),
        *_latency_cells(result.latency),
        *(_jitter_cells(result.latency) if load.sessions else ()),
        f"{statistics.failed:,}",
        f"{statistics.different:,}" if statistics.compared else "-",
        "-" if load.closed else format_duration(result.lag.percentile(99)),
        "+".join(f"{fraction:.0%}" for fraction in statistics.cpu),
        *(() if verdict is None else (str(verdict.decision),)),
    )


def _model_cells(test: LoadTest, result: LoadResult, model: str, latency: Durations) -> tuple[str, ...]:
    jitter = _jitter_cells(latency) if result.load.sessions else ()
    empty = [""] * (len(result_columns(test)) - 2 - len(_PERCENTILES) - 1 - len(jitter))
    return (f"  {model}", "", *_latency_cells(latency), *jitter, *empty)


def _jitter_cells(latency: Durations) -> list[str]:
    values = [latency.deviation, latency.percentile(99) - latency.percentile(50)]
    return [format_duration(value) if latency.count else "-" for value in values]


def _latency_cells(latency: Durations) -> list[str]:
    values = [*(latency.percentile(percent) for percent in _PERCENTILES), latency.max]
    return [format_duration(value) if latency.count else "-" for value in values]


def list_findings(test: LoadTest) -> list[str]:
    """Return sentences that explain the figures, with the verdict last."""
    findings = []
    for result in test.pooled:
        findings += [f"{result.load.text}: {sentence}" for sentence in _findings_of_load(test, result)]
    compared = sum(result.statistics.compared for result in test.results)
    if not compared:
        findings.append("answers: not checked, because checks are off or no request was sent twice")
    elif not any(result.statistics.different for result in test.results):
        findings.append(f"answers: all {compared:,} checked rows equal the reference outputs")
    if any(result.load.closed for result in test.results):
        findings.append(
            "closed loop: if the server stalls, the load stops too, so users would see higher latencies than these. "
            "Use --rate to measure what users see"
        )
    if any(result.load.sessions for result in test.results):
        findings.append(
            "sessions: a step is due one think time after the last response, and its latency counts from then. If the "
            "server stalls, later steps are due later"
        )
    return findings if test.objective is None else [*findings, *_verdicts(test, test.objective)]


def _findings_of_load(test: LoadTest, result: LoadResult) -> list[str]:
    statistics, sentences = result.statistics, []
    for status, count in sorted(statistics.errors.items()):
        detail = statistics.details.get(status, "")
        requests = "1 request" if count == 1 else f"{count:,} requests"
        sentences.append(f"{requests} failed with {status}" + (f": {detail}" if detail else ""))
    if statistics.different:
        share = format_share(statistics.different / statistics.compared)
        wrong = f"{statistics.different:,} of {statistics.compared:,} checked rows ({share})"
        sentences.append(f"{wrong} differ from the reference outputs")
    if result.cut_short:
        sentences.append(f"stopped after {result.seconds:.1f} s because of --max-requests {result.load.max_requests}")
    if result.early_end:
        sentences.append(f"ended early after {result.seconds:.1f} s because {result.early_end}")
    if len(result.runs) > 1:
        sentences.append(_describe_intervals(result, test.confidence))
    limit = explain_generator_limit(result)
    return [*sentences, *([limit] if limit else [])]


def _describe_intervals(result: LoadResult, confidence: float) -> str:
    texts = []
    for name, (mean, interval) in result.intervals(confidence).items():
        text = format_rate if name == FIGURES[0] else format_duration
        texts.append(f"{name} {text(mean)} ± {text((interval.high - interval.low) / 2)}")
    return f"mean of {len(result.runs)} runs with {100 * confidence:.6g}% confidence: {', '.join(texts)}"


def _verdicts(test: LoadTest, objective: LatencyObjective) -> list[str]:
    """Return the verdict of the test, and of the next larger load."""
    results = sorted(test.pooled, key=lambda result: result.load.size)
    verdicts = [(result, judge(result, objective)) for result in results]
    met = [pair for pair in verdicts if pair[1].decision is Decision.MET]
    if not met:
        same = [pair for pair in verdicts if pair[1].decision is test.decision and pair[0].statistics.sent] or verdicts
        if test.decision is Decision.MISSED:
            (result, verdict), place = same[0], "already at"
        else:  # the load with the most requests is the closest to a decision
            (result, verdict), place = max(same, key=lambda pair: pair[0].statistics.sent), "at"
        return [f"{verdict.decision}: {objective.text}, {place} {result.load.text}: {verdict.text}"]
    best, verdict = met[-1]
    above = [pair for pair in verdicts if pair[0].load.size > best.load.size][:1]
    return [
        f"met: {objective.text}, at {best.load.text}: {verdict.text}",
        *(f"{verdict.decision} at {result.load.text}: {verdict.text}" for result, verdict in above),
    ]
