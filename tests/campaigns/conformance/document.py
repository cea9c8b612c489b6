"""The table of clients in docs/reference/compatibility.md: the results that `make conformance` expects."""

import re
from collections.abc import Iterator, Sequence

from campaigns.conformance.clients import GRPC_CLIENTS, HTTP_CLIENTS, Client


def documented_grpc_clients() -> Iterator[str]:
    """Yield the expected results of the gRPC clients, in Markdown."""
    yield from _documented(GRPC_CLIENTS)


def documented_http_clients() -> Iterator[str]:
    """Yield the expected results of the HTTP clients, in Markdown."""
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
        yield f"| {f'{client.title} {client.environment.pinned}'.strip()} | {'; '.join(short) or '-'} |"
