"""What a process tells of its requests while it serves: lines of the log, and traces."""

import contextlib
from collections.abc import Iterator

from rnnserve.common.telemetry import TracesUnavailable, check_traces, start_traces
from rnnserve.server.errors import StartError
from rnnserve.server.observing.observer import requests_observed
from rnnserve.server.observing.spans import Spans
from rnnserve.server.settings import Settings

__all__ = ["check_tracing", "requests_told"]


def check_tracing(settings: Settings) -> None:
    """Look whether traces can be exported, where they are asked for.

    Raises:
        StartError: If they cannot.
    """
    if settings.traces:
        try:
            check_traces()
        except TracesUnavailable as error:
            raise StartError(str(error)) from error


@contextlib.contextmanager
def requests_told(settings: Settings) -> Iterator[None]:
    """Tell of the requests inside the block, as settings say.

    Raises:
        StartError: If traces are asked for and cannot be exported.
    """
    check_tracing(settings)
    traces = start_traces() if settings.traces else None
    with requests_observed(settings.log_requests, None if traces is None else Spans(traces)):
        yield
