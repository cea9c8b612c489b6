"""Sentences about a load test's results: errors, wrong answers, what limited the test, and the verdict."""

from collections.abc import Sequence

from rnnserve.client.load.generator_limit import explain_generator_limit
from rnnserve.client.load.latency_objective import LatencyObjective
from rnnserve.client.load.load_level import LoadResult
from rnnserve.client.load.load_test import LoadTest

__all__ = ["list_findings"]


def list_findings(test: LoadTest) -> list[str]:
    """Return what the figures alone do not show, about one sentence each."""
    findings = []
    for result in test.results:
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
        findings.append(_verdict(test, test.objective))
    return findings


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


def _verdict(test: LoadTest, objective: LatencyObjective) -> str:
    best = test.best
    if best is None:
        lowest = min(test.results, key=lambda result: result.load.size)
        reasons = "; ".join(objective.violations(lowest))
        return f"{objective.text} does not hold, not even at {lowest.load.text}: {reasons}"
    verdict = f"{objective.text} holds at {best.load.text}"
    above = [result for result in test.results if result.load.size > best.load.size]
    if above:
        failing = min(above, key=lambda result: result.load.size)
        verdict += f", not at {failing.load.text} ({'; '.join(objective.violations(failing))})"
        if explain_generator_limit(failing):
            verdict += "; the generator may be the reason"
    return verdict
