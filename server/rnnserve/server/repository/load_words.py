"""What the log and clients are told of versions that are loaded."""

import logging

from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.error_texts import one_line
from rnnserve.server.repository.graph_choice import NATIVE, SCANNED, GraphChoice

__all__ = ["MAX_REASON", "reason_of", "tell_graph"]

MAX_REASON = 1000
"""Characters of a reason why a version does not serve, without paths: it is sent to clients, in a list with those of
all other versions. Beyond it: the rest is cut."""


def reason_of(error: Exception) -> str:
    """Say in one line why something cannot be loaded; it is sent to clients, so without paths."""
    said = str(error) if isinstance(error, ArtifactError) else f"cannot be loaded: {type(error).__name__}: {error}"
    return one_line(said, MAX_REASON)


def tell_graph(log: logging.Logger, name: str, version: int, asked: str, graph: GraphChoice) -> None:
    """Log which graph serves, where there was a choice, and where it is not the one that was asked for."""
    if asked == SCANNED and graph.name == NATIVE:
        log.warning("%s version %d: --graph scan: %s", name, version, graph)
    elif graph.name == SCANNED:
        log.info("%s version %d: %s", name, version, graph)
