"""Sentences about a load test's results: errors, wrong answers, what limited the test, and the verdict."""

from collections.abc import Sequence

from rnnserve.load.early_stopping import most_over
from rnnserve.load.generator_limit import explain_generator_limit
from rnnserve.load.latency_objective import CONFIDENCE, LatencyObjective
from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.repetition import FIGURES, Interval, run_intervals
from rnnserve.load.scenarios import SCENARIOS
from rnnserve.load.units import format_confidence, format_duration, format_rate
from rnnserve.load.verdict import Decision, judge

__all__ = ["list_findings"]


def list_findings(test: LoadTest) -> list[str]:
    """Return what the figures alone do not show, about one sentence each."""
    findings = []
    for result in test.pooled:
        statistics, load = result.statistics, result.load.text
        for status, count in sorted(statistics.errors.items()):
            detail = statistics.details.get(status, "")
            findings.append(f"{load}: {count:,} x {status}" + (f", the first: {detail}" if detail else ""))
        if statistics.wrong:
            fraction = statistics.wrong / statistics.checked
            findings.append(f"{load}: {statistics.wrong:,} of {statistics.checked:,} labels are wrong ({fraction:.1%})")
        if statistics.different:
            fraction = statistics.different / statistics.compared
            findings.append(
                f"{load}: {statistics.different:,} of {statistics.compared:,} rows have other answers than the golden "
                f"ones ({fraction:.1%})"
            )
        if result.cut_short:
            findings.append(
                f"{load}: cut short after {result.seconds:.1f} s by --max-requests {result.load.max_requests}"
            )
        if result.look is not None:
            findings.append(f"{load}: ended after {result.seconds:.1f} s, since the objective was decided by then")
        intervals = run_intervals(result, _confidence(test))
        if intervals:
            findings.append(f"{load}: {_describe_intervals(intervals)}")
        findings += _scenario_findings(result, _confidence(test))
        limit = explain_generator_limit(result)
        if limit:
            findings.append(f"{load}: {limit}")
    findings += _check_findings(test.results)
    if any(result.load.closed for result in test.results):
        findings.append(
            "closed loop: when the server stalls, the load stops too, so latencies look better than users would see "
            "them; --rate measures what users see"
        )
    if any(result.load.sessions for result in test.results):
        findings.append(
            "sessions: a step is due a think time after the last answer, and its latency is counted from then. Jitter "
            "is the standard deviation of the latency (deviation), its p99 less its p50, and the send lag: how much "
            "later than it was due a step was sent. When the server stalls, later steps are due later"
        )
    if test.objective is not None:
        lags = [result.statistics.lag for result in test.results if not result.load.closed]
        if lags:
            lag = max(lags, key=lambda lag: lag.percentile(99))
            findings.append(
                f"pacing: requests were sent up to {format_duration(lag.percentile(99))} (p99) later than planned, "
                f"{format_duration(lag.max)} at most; latencies include it"
            )
        findings += _verdicts(test, test.objective)
    return findings


def _confidence(test: LoadTest) -> float:
    return CONFIDENCE if test.objective is None else test.objective.confidence


def _describe_intervals(intervals: dict[str, Interval]) -> str:
    texts = []
    for name in FIGURES:
        interval, text = intervals[name], format_rate if name == "answers/s" else format_duration
        texts.append(f"{name} {text(interval.mean)} ± {text((interval.high - interval.low) / 2)}")
    some = intervals[FIGURES[0]]
    return f"{some.values} runs, mean with its interval at {format_confidence(some.confidence)}: {', '.join(texts)}"


def _scenario_findings(result: LoadResult, confidence: float) -> list[str]:
    """Return the figure of a scenario: rows per second, or the upper bound of a percentile as LoadGen estimates it."""
    name, latency = result.load.scenario, result.statistics.latency
    if name == "offline":
        rows = result.statistics.rows / result.seconds if result.seconds else 0.0
        return [f"offline: {format_rate(round(rows))} rows/s"]
    percent = SCENARIOS[name].percent if name else None
    if percent is None or not latency.count:
        return []
    discarded = most_over(latency.count, percent, 1 - confidence)
    if discarded < 1:
        return [f"{name}: {latency.count:,} requests are too few for an estimate of the p{percent:g}; take more"]
    bound = format_duration(latency.largest_but(discarded - 1))
    return [f"{name}: the p{percent:g} is {bound} at most ({format_confidence(confidence)})"]


def _check_findings(results: Sequence[LoadResult]) -> list[str]:
    checked = sum(result.statistics.checked for result in results)
    wrong = sum(result.statistics.wrong for result in results)
    compared = sum(result.statistics.compared for result in results)
    different = sum(result.statistics.different for result in results)
    findings = [f"labels: all {checked:,} are as expected"] if checked and not wrong else []
    if compared and not different:
        findings.append(f"answers: those to all {compared:,} rows agree with the golden ones")
    if not checked and not compared:
        findings.append("answers: not checked, since checks are off or no request was answered twice")
    return findings


def _verdicts(test: LoadTest, objective: LatencyObjective) -> list[str]:
    """Return the verdict of the test, and those of the loads on each side of it."""
    results = sorted(test.pooled, key=lambda result: result.load.size)
    verdicts = [(result, judge(result, objective)) for result in results]
    heading = f"{objective.text}, {format_confidence(objective.confidence)}"
    held = [pair for pair in verdicts if pair[1].decision is Decision.HELD]
    if not held:
        said = [pair for pair in verdicts if pair[1].decision is test.decision and pair[0].statistics.sent] or verdicts
        if test.decision is Decision.NOT_HELD:
            (result, verdict), place = said[0], "not even at"
        else:
            # The one with the most requests: it is the nearest to a decision.
            (result, verdict), place = max(said, key=lambda pair: pair[0].statistics.sent), "at"
        return [f"{verdict.decision}: {heading}, {place} {result.load.text} ({verdict.text})"]
    best, verdict = held[-1]
    findings = [f"held: {heading}, at {best.load.text} ({verdict.text})"]
    above = [pair for pair in verdicts if pair[0].load.size > best.load.size]
    findings += [f"{verdict.decision}: at {result.load.text} ({verdict.text})" for result, verdict in above[:1]]
    return findings
