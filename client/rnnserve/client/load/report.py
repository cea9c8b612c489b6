"""Results as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from rnnserve.client.load import charts
from rnnserve.client.load.campaign import Campaign
from rnnserve.client.load.context import Context
from rnnserve.client.load.plan import Point
from rnnserve.client.load.table import columns, findings, row
from rnnserve.client.load.units import duration_text, rate_text

__all__ = ["report"]


def report(campaign: Campaign, context: Context) -> str:
    """Return the page; there has to be a point at least."""
    shown = campaign.best or campaign.points[-1]
    style = (files("rnnserve.client.load") / "report.css").read_text(encoding="utf-8")
    body = [
        "<header><h1>Load test</h1>",
        f"<p>{escape(', '.join(model.name for model in context.models))} at {escape(context.address)}, ",
        f"{escape(context.started)}</p></header>",
        _verdict(campaign),
        _tiles(shown),
        '<section class="plots">',
        *_figures(campaign, shown),
        "</section>",
        "<section><h2>Every load</h2>",
        _loads(campaign),
        "</section>",
        _facts(context),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test, {escape(context.started)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _verdict(campaign: Campaign) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(campaign))
    kind, word = ("good", "Passed") if campaign.passed else ("bad", "Failed")
    return f'<section class="verdict {kind}"><strong>{word}</strong><ul>{said}</ul></section>'


def _tiles(point: Point) -> str:
    tally = point.tally
    tiles = [
        ("in flight" if point.load.closed else "requests/s", rate_text(point.load.size)),
        ("answers/s", rate_text(round(point.throughput))),
        ("p50", duration_text(tally.latency.percentile(50))),
        ("p99", duration_text(tally.latency.percentile(99))),
        ("max", duration_text(tally.latency.max)),
        ("errors", f"{sum(tally.errors.values()):,}"),
    ]
    inside = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in tiles)
    return f'<dl class="tiles">{inside}</dl>'


def _figures(campaign: Campaign, shown: Point) -> Iterable[str]:
    answered = [point for point in campaign.points if point.tally.latency.count]
    if answered:
        yield _figure("Latency by percentile", *charts.latency_by_percentile(answered))
    if len(answered) > 1:
        yield _figure("Latency by load", *charts.latency_by_load(answered, campaign.objective))
    if len(campaign.points) > 1:
        yield _figure("Answers and errors a second, by load", *charts.errors_by_load(campaign.points))
    if len(answered) > 1 and not shown.load.closed:
        yield _figure("What the generator added: how late it sent", *charts.lag_by_load(answered))
    if shown.tally.latency.count:
        yield _figure(f"Answers by latency, at {shown.load.text}", charts.latency_histogram(shown.tally.latency))
    if shown.batches:
        yield _figure(f"Batches by size that the server ran, at {shown.load.text}", charts.batch_sizes(shown.batches))


def _figure(title: str, svg: str, legend: Sequence[tuple[int, str]] = ()) -> str:
    names = "".join(f'<li class="c{color}">{escape(name)}</li>' for color, name in legend)
    caption = f"<figcaption><h2>{escape(title)}</h2>" + (f"<ul>{names}</ul>" if names else "") + "</figcaption>"
    return f"<figure>{caption}{svg}</figure>"


def _loads(campaign: Campaign) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns(campaign.points[0]))
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row(point))}</tr>" for point in campaign.points
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _facts(context: Context) -> str:
    server = {"address": context.address, "server": f"{context.server.name} {context.server.version}".strip()}
    for model in context.models:
        provider = model.parameters.get("provider")
        versions = f"version {', '.join(model.versions)}" if model.versions else ""
        facts = [versions, model.platform, f"on {provider}" if provider else ""]
        server[model.name] = ", ".join(fact for fact in facts if fact)
    groups = (("Generator", context.machine), ("Server", server), ("Asked", context.workload))
    inside = "".join(
        f"<div><h2>{title}</h2><dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
        + "</dl></div>"
        for title, facts in groups
    )
    return f'<section class="facts">{inside}</section><p class="command"><code>{escape(context.command)}</code></p>'
