"""Results as text for a terminal."""

from collections.abc import Sequence

from rnnserve.client.load.campaign import Campaign
from rnnserve.client.load.judge import generator_limit
from rnnserve.client.load.plan import Point
from rnnserve.client.load.samples import Tally
from rnnserve.client.load.units import duration_text, rate_text

__all__ = ["columns", "findings", "row", "table"]

_PERCENTILES = (50, 90, 99, 99.9)


def table(campaign: Campaign) -> str:
    """Return a line for each load, a line for each model where there are several, and what is to be said about them."""
    rows = [columns(campaign.points[0])] if campaign.points else []
    for point in campaign.points:
        rows.append(row(point))
        if len(campaign.models) > 1:
            rows += [_model_row(model, point) for model in campaign.models if model in point.tally.latency_of]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    said = findings(campaign)
    return "\n".join([*(line.rstrip() for line in lines), *(["", *said] if said else [])])


def columns(point: Point) -> tuple[str, ...]:
    """Return the heads of the table's columns."""
    load = "in flight" if point.load.closed else "requests/s"
    percentiles = (f"p{percent:g}" for percent in _PERCENTILES)
    return (load, "answers/s", *percentiles, "max", "errors", "wrong", "send lag p99", "generator CPU")


def row(point: Point) -> tuple[str, ...]:
    """Return the cells of a point's line."""
    tally, load = point.tally, point.load
    size = str(load.closed) if load.closed else rate_text(load.rate)
    cpu = "+".join(f"{share:.0%}" for share in tally.cpu)
    wrong = f"{tally.wrong:,}" if tally.checked else "-"
    lag = duration_text(tally.lag.percentile(99)) if not load.closed else "-"
    return (
        size,
        rate_text(round(point.throughput)),
        *_latencies(tally),
        f"{sum(tally.errors.values()):,}",
        wrong,
        lag,
        cpu,
    )


def findings(campaign: Campaign) -> list[str]:
    """Return what figures alone do not say, a sentence or so each."""
    said = []
    for point in campaign.points:
        tally, load = point.tally, point.load.text
        for status, count in sorted(tally.errors.items()):
            detail = tally.details.get(status, "")
            said.append(f"{load}: {count:,} x {status}" + (f", the first: {detail}" if detail else ""))
        if tally.wrong:
            share = tally.wrong / tally.checked
            said.append(f"{load}: {tally.wrong:,} of {tally.checked:,} labels are wrong ({share:.1%})")
        if point.cut_short:
            said.append(f"{load}: cut short after {point.seconds:.1f} s by --max-requests {point.load.max_requests}")
        limit = generator_limit(point)
        if limit:
            said.append(f"{load}: {limit}")
    said += _about_labels(campaign.points)
    if any(point.load.closed for point in campaign.points):
        said.append(
            "closed loop: a stalled server stops the load too, so latencies look better than users would find them; "
            "--rate asks as they do"
        )
    if campaign.objective is not None:
        said.append(_verdict(campaign))
    return said


def _about_labels(points: Sequence[Point]) -> list[str]:
    checked = sum(point.tally.checked for point in points)
    wrong = sum(point.tally.wrong for point in points)
    if checked and not wrong:
        return [f"labels: all {checked:,} are as expected"]
    return [] if checked else ["labels: not checked, since no direction is known or none was to be checked"]


def _verdict(campaign: Campaign) -> str:
    objective, best = campaign.objective, campaign.best
    assert objective is not None  # noqa: S101 - for the type checker; the caller has looked
    if best is None:
        first = min(campaign.points, key=lambda point: point.load.size)
        return f"{objective.text} does not hold, not even at {first.load.text}: {'; '.join(objective.broken(first))}"
    above = [point for point in campaign.points if point.load.size > best.load.size]
    said = f"{objective.text} holds at {best.load.text}"
    if above:
        worse = min(above, key=lambda point: point.load.size)
        said += f", not at {worse.load.text} ({'; '.join(objective.broken(worse))})"
        if generator_limit(worse):
            said += "; the generator may be why"
    return said


def _latencies(tally: Tally, model: str | None = None) -> list[str]:
    latency = tally.latency if model is None else tally.latency_of[model]
    values = [*(latency.percentile(percent) for percent in _PERCENTILES), latency.max]
    return [duration_text(value) if latency.count else "-" for value in values]


def _model_row(model: str, point: Point) -> tuple[str, ...]:
    return (f"  {model}", "", *_latencies(point.tally, model), "", "", "", "")
