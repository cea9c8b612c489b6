"""The table of clients and features: as text for a terminal, and what the documentation says of it."""

import re
from collections.abc import Iterator, Mapping, Sequence

from campaigns.conformance.clients import CLIENTS, Client
from campaigns.conformance.environments import NodeProgram, PythonProgram
from campaigns.conformance.features import FEATURES, Feature
from campaigns.conformance.http_clients import HTTP_CLIENTS
from campaigns.conformance.outcomes import Kind, Outcome

__all__ = ["documented_grpc_clients", "documented_http_clients", "merge_transports", "render_table"]

Outcomes = Mapping[str, Outcome]
"""By the names of the features."""

_MERGED_KINDS = (Kind.FAILED, Kind.SKIPPED, Kind.REFUSED, Kind.WORKS, Kind.NOT_OFFERED)
"""The worst first."""


def merge_transports(by_transport: Mapping[str, Outcomes]) -> dict[str, Outcome]:
    """Merge the outcomes of one client: where transports differ, the worst, whose words name the transport.

    Args:
        by_transport: By "fast path", "plain" and "native", or some of them.
    """
    merged = {}
    for name in next(iter(by_transport.values())):
        found = {transport: outcomes[name] for transport, outcomes in by_transport.items()}
        transport, worst = min(found.items(), key=lambda entry: _MERGED_KINDS.index(entry[1].kind))
        if len({outcome.kind for outcome in found.values()}) > 1:
            worst = Outcome(worst.kind, f"{transport}: {worst.words}")
        merged[name] = worst
    return merged


def render_table(
    columns: Mapping[str, Outcomes],
    versions: Mapping[str, str],
    features: Sequence[Feature] = FEATURES,
) -> str:
    """Render the table, and what the server or the client said under it, each sentence once.

    Args:
        columns: Outcomes by the clients' titles, in order.
        versions: The versions of the clients by their titles, of those that were tried.
        features: The table's rows.
    """
    titles = [f"{title} {versions.get(title, '')}".strip() for title in columns]
    rows = [
        [feature.title, *(outcomes[feature.name].kind.value for outcomes in columns.values())] for feature in features
    ]
    return "\n".join([*_grid(["feature", *titles], rows), "", *_notes(columns, features)])


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [cell.replace("\\", "") for cell in head]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]


def _notes(columns: Mapping[str, Outcomes], features: Sequence[Feature]) -> list[str]:
    lines = []
    for feature in features:
        said: dict[tuple[Kind, str], list[str]] = {}
        for title, outcomes in columns.items():
            outcome = outcomes[feature.name]
            if outcome.kind in (Kind.REFUSED, Kind.FAILED):
                said.setdefault((outcome.kind, outcome.words), []).append(title)
        for (kind, words), titles in said.items():
            who = f"{', '.join(titles)}: " if kind is Kind.FAILED or len(said) > 1 else ""
            lines.append(f"- {feature.title}, {kind.value}: {who}{words}")
    lacked: dict[tuple[str, str], list[str]] = {}
    for title, outcomes in columns.items():
        by_reason: dict[str, list[str]] = {}
        for feature in features:
            if outcomes[feature.name].kind is Kind.NOT_OFFERED:
                by_reason.setdefault(outcomes[feature.name].words, []).append(feature.title)
        for reason, names in by_reason.items():
            lacked.setdefault((reason, "; ".join(names)), []).append(title)
        skipped = {outcome.words for outcome in outcomes.values() if outcome.kind is Kind.SKIPPED}
        lines += [f"- {title} was skipped: {reason}" for reason in sorted(skipped)]
    lines += [
        f"- not offered by {', '.join(titles)}, since {reason}: {names}" for (reason, names), titles in lacked.items()
    ]
    return [line.replace("\\", "") for line in lines]


def documented_grpc_clients() -> Iterator[str]:
    """Yield what `make conformance` expects of the clients over gRPC, in Markdown."""
    yield from _documented(CLIENTS)


def documented_http_clients() -> Iterator[str]:
    """Yield the same for the clients over HTTP."""
    yield from _documented(HTTP_CLIENTS)


def _documented(clients: Sequence[Client]) -> Iterator[str]:
    features = clients[0].features
    yield f"Tried, and working: {'; '.join(feature.title for feature in features if not feature.refused)}.\n"
    refused = [f"{feature.title} ({feature.refused})" for feature in features if feature.refused]
    yield f"Tried, and refused as it should be: {'; '.join(refused)}.\n"
    yield "| client | it doesn't offer |\n| --- | --- |"
    for client in clients:
        lacking = [feature.title for feature in features if feature.name in client.lacks and not feature.refused]
        short = dict.fromkeys(re.split(r"[:(]|, ", title)[0].strip() for title in lacking)
        yield f"| {f'{client.title} {_pinned(client)}'.strip()} | {'; '.join(short) or '-'} |"


def _pinned(client: Client) -> str:
    """Return the version that is tried; empty for programs of the machine, which have any."""
    match client.environment:
        case PythonProgram() | NodeProgram(packages=(_, *_)):
            return client.environment.version()
    return ""
