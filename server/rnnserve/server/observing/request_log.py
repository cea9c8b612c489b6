"""What a line of the log says of a request that was refused, or answered."""

from collections.abc import Sequence
from typing import NamedTuple

from rnnserve.common.request_lines import log_request, trace_id_of
from rnnserve.server.counting.table import Counts, used_table
from rnnserve.server.observing.origins import Origin
from rnnserve.server.observing.runs import SeenRun

__all__ = ["ANSWERED", "Refusal", "log_refusal", "log_run", "model_of"]

ANSWERED = "OK"
"""The status of requests that were answered, and the kind of their lines."""


class Refusal(NamedTuple):
    """A request that was refused.

    Attributes:
        origin: Where it comes from.
        counts: Numbers of the version that it is for; None where that is not known.
        status: Name of the gRPC status.
        reason: Name of the server's own error.
        field: The field of the request that is wrong; empty where it is no single one.
        rows: Its rows; 0 where they are not known.
        arrived: When it arrived, in seconds on the clock of `clock`; where it never waited, when it was refused.
        run_seconds: Seconds of its run; 0 where there was none.
        ended: When it was refused, on the same clock.
    """

    origin: Origin
    counts: "Counts | None"
    status: str
    reason: str
    field: str
    rows: int
    arrived: float
    run_seconds: float
    ended: float

    @property
    def queue_seconds(self) -> float:
        """Seconds that it has waited."""
        return max(self.ended - self.arrived - self.run_seconds, 0.0)


def model_of(counts: "Counts | None") -> tuple[str, str]:
    """Name the model and the version that counts are of: of those that serve alone, whatever a client has asked for."""
    table = used_table()
    return table.name_of(table.other if counts is None else counts)


def log_refusal(refusal: Refusal, trace_id: str, left_out: int) -> None:
    """Write the line of a request that was refused.

    Args:
        refusal: The request.
        trace_id: Id of its trace, where this server has made a span of it; else its client's may be known.
        left_out: Number of lines of the same reason that were left out before it.
    """
    model, version = model_of(refusal.counts)
    fields = {
        **_of_origin(refusal.origin, trace_id),
        "model": model,
        "version": version,
        "rows": refusal.rows or None,
        "status": refusal.status,
        "reason": refusal.reason,
        "field": refusal.field,
        "queue_seconds": refusal.queue_seconds,
        "run_seconds": refusal.run_seconds,
    }
    log_request(fields, has_failed=True, left_out=left_out)


def log_run(run: SeenRun, trace_ids: Sequence[str], left_out: int) -> None:
    """Write a line for each request of a run.

    Args:
        run: The run.
        trace_ids: Ids of their traces, where this server has made spans of them; empty, or one for each.
        left_out: Number of such lines that were left out before.
    """
    model, version = model_of(run.counts)
    for index, (origin, rows, arrived) in enumerate(zip(run.origins, run.rows, run.arrivals, strict=True)):
        fields = {
            **_of_origin(origin, trace_ids[index] if trace_ids else ""),
            "model": model,
            "version": version,
            "rows": rows,
            "status": ANSWERED,
            "queue_seconds": run.started - arrived,
            "run_seconds": run.ended - run.started,
        }
        log_request(fields, has_failed=False, left_out=0 if index else left_out)


def _of_origin(origin: Origin, trace_id: str) -> dict[str, object]:
    return {
        "request_id": origin.request_id,
        "message_id": origin.message_id,
        "trace_id": trace_id or trace_id_of(origin.traceparent),
        "peer": origin.peer,
    }
