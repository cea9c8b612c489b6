"""The families of metrics: of each its samples, as text with places for the numbers, and the numbers from a row.

A sample's text has `LABELS` where those of a version stand, and the form of its number, as `%` takes it: `%d`, or `%r`
for seconds, all digits of which are told.
"""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter

from rnnserve.common import front_counts
from rnnserve.server.counting import places

__all__ = ["LABELS", "OF_FRONTS", "OF_OTHER", "OF_PROCESS", "OF_TOKENS", "OF_VERSIONS", "TRITON", "Family"]

LABELS = "LABELS"

Numbers = Sequence[float]

_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Triton's reason of a failure by its status; OTHER for all others."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of metrics.

    Attributes:
        name: Its name.
        kind: counter, gauge, histogram or summary.
        about: What it counts.
        samples: What follows the name in each sample, and the form of its number.
        numbers: A function from a row's numbers to those of the samples, in their order.
    """

    name: str
    kind: str
    about: str
    samples: tuple[str, ...]
    numbers: Callable[[Numbers], Sequence[float]]

    def head(self) -> str:
        """The lines before its samples."""
        return f"# HELP {self.name} {self.about}\n# TYPE {self.name} {self.kind}\n"

    def lines(self, labels: str = "") -> str:
        """Its samples, for a row with these labels, with the forms of their numbers."""
        escaped = labels.replace("%", "%%")
        return "".join([f"{self.name}{sample}\n" for sample in self.samples]).replace(LABELS, escaped)


def _one(name: str, kind: str, about: str, *summed: int, factor: float = 1.0, form: str = "%d") -> Family:
    """A family of one sample a version, the sum of some of its numbers."""
    return Family(
        name,
        kind,
        about,
        (f"{{{LABELS}}} {form}",),
        lambda counts: (factor * sum([counts[place] for place in summed]),),
    )


def _requests(answers: Sequence[str]) -> Family:
    """Requests by protocol and status; `answers` is the status of those that were answered, or nothing."""
    by_code: dict[str, list[int]] = {}
    for place, (code, _) in enumerate(places.REFUSALS):
        by_code.setdefault(code, []).append(place)
    groups = [itemgetter(*of_code, of_code[0]) for of_code in by_code.values()]  # the last so that each gives a tuple

    def refused(counts: Numbers, first: int) -> list[float]:
        part = counts[first : first + len(places.REFUSALS)]
        return [sum(group(part)[:-1]) for group in groups]

    def numbers(counts: Numbers) -> list[float]:
        over_grpc, over_http = refused(counts, places.REFUSED), refused(counts, places.HTTP_REFUSED)
        if not answers:
            return over_grpc + over_http
        http = counts[places.HTTP_ANSWERED]
        grpc = counts[places.ANSWERED] - counts[places.REFUSED_AFTER_RUN] - http
        return [grpc, *over_grpc, http, *over_http]

    samples = [
        f'{{{LABELS},protocol="{protocol}",code="{code}"}} %d'
        for protocol in ("grpc", "http")
        for code in (*answers, *by_code)
    ]
    about = "Inference requests that were answered, by protocol and status."
    return Family("rnnserve_requests_total", "counter", about, tuple(samples), numbers)


def _histogram(name: str, about: str, first: int, bounds: Sequence[float], *sums: int, form: str = "%r") -> Family:
    edges = [*[repr(bound) if bound % 1 else str(int(bound)) for bound in bounds], "+Inf"]
    buckets = [f'_bucket{{{LABELS},le="{edge}"}} %d' for edge in edges]

    def numbers(counts: Numbers) -> list[float]:
        cumulative = list(accumulate(counts[first : first + len(edges)]))
        return [*cumulative, sum([counts[place] for place in sums]), cumulative[-1]]

    return Family(name, "histogram", about, (*buckets, f"_sum{{{LABELS}}} {form}", f"_count{{{LABELS}}} %d"), numbers)


def _triton_failures() -> Family:
    reasons = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
    of_reason = [
        [place for place, (code, _) in enumerate(places.REFUSALS) if _TRITON_REASONS.get(code, "OTHER") == reason]
        for reason in reasons
    ]

    def numbers(counts: Numbers) -> list[float]:
        refusals = places.refusals(counts)
        return [sum([refusals[place] for place in chosen]) for chosen in of_reason]

    samples = tuple(f'{{{LABELS},reason="{reason}"}} %d' for reason in reasons)
    return Family("nv_inference_request_failure", "counter", "Refused requests.", samples, numbers)


_REFUSALS = Family(
    "rnnserve_refusals_total",
    "counter",
    "Those that were refused, by status and reason.",
    tuple(f'{{{LABELS},code="{code}",reason="{reason}"}} %d' for code, reason in places.REFUSALS),
    places.refusals,
)
OF_OTHER = (_requests(()), _REFUSALS)
"""What there is of requests for models that do not serve."""

OF_VERSIONS = (
    _requests(("OK",)),
    _REFUSALS,
    _histogram(
        "rnnserve_request_duration_seconds",
        "Seconds from the arrival of an answered request to the end of its run.",
        places.ANSWER_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
    ),
    _histogram(
        "rnnserve_queue_duration_seconds",
        "Seconds that an answered request has waited for its run.",
        places.WAIT_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
    ),
    _histogram(
        "rnnserve_run_duration_seconds",
        "Seconds of a run, of which requests may share one.",
        places.RUN_BUCKETS,
        places.SECONDS_BOUNDS,
        places.RUN_SECONDS,
    ),
    _histogram(
        "rnnserve_batch_rows",
        "Rows of a run, without padding.",
        places.ROW_BUCKETS,
        places.ROW_BOUNDS,
        places.ROWS,
        form="%d",
    ),
    _one("rnnserve_steps_total", "counter", "Steps of the rows of all runs, without padding.", places.STEPS),
    _one("rnnserve_padded_steps_total", "counter", "Steps of padding of all runs.", places.PADDED_STEPS),
    _one("rnnserve_requests_queued", "gauge", "Requests that wait for their run.", places.QUEUED),
    Family(
        "rnnserve_model_ready",
        "gauge",
        "Whether a process serves this version.",
        (f"{{{LABELS}}} %d",),
        lambda counts: (float(counts[places.READY] > 0),),
    ),
)


def _of_process(name: str, kind: str, about: str, samples: Sequence[tuple[str, int]], form: str = "%d") -> Family:
    """A family of the process: of each sample what follows the name, and its place."""
    chosen = tuple(place for _, place in samples)
    return Family(
        name,
        kind,
        about,
        tuple(f"{labels} {form}" for labels, _ in samples),
        lambda counts: [counts[place] for place in chosen],
    )


OF_PROCESS = (
    _of_process(
        "rnnserve_requests_in_flight",
        "gauge",
        "Inference requests that have arrived, and whose answers have not been sent.",
        [("", places.IN_FLIGHT)],
    ),
    _of_process(
        "rnnserve_held_bytes",
        "gauge",
        "Bytes that requests and responses in hand hold.",
        [("", places.HELD_BYTES)],
    ),
    _of_process("rnnserve_sequences_live", "gauge", "Sequences whose states are kept.", [("", places.SEQUENCES)]),
    _of_process(
        "rnnserve_sequence_evictions_total",
        "counter",
        "Sequences that were dropped.",
        [('{reason="idle"}', places.EVICTED)],
    ),
    _of_process(
        "rnnserve_model_loads_total",
        "counter",
        "Versions that were tried, in each process.",
        [('{outcome="ready"}', places.LOADED), ('{outcome="refused"}', places.NOT_LOADED)],
    ),
    _of_process(
        "rnnserve_connections_ended_total",
        "counter",
        "Connections of gRPC clients that were ended because they do harm.",
        [('{reason="header_fields"}', places.HOSTILE)],
    ),
    _of_process(
        "rnnserve_config_reload_total",
        "counter",
        "Times that SIGHUP has had the repository loaded again.",
        [('{outcome="ready"}', places.RELOADED), ('{outcome="refused"}', places.NOT_RELOADED)],
    ),
    _of_process(
        "rnnserve_tls_reloads_total",
        "counter",
        "Times that a process found new files for TLS on its gRPC port.",
        [('{outcome="ready"}', places.TLS_RELOADED), ('{outcome="refused"}', places.TLS_NOT_RELOADED)],
    ),
    _of_process(
        "rnnserve_tokens_reload_total",
        "counter",
        "Times that a process has read a changed file of tokens; one that is refused changes nothing.",
        [('{outcome="ready"}', places.TOKENS_READ), ('{outcome="refused"}', places.TOKENS_NOT_READ)],
    ),
    _of_process(
        "rnnserve_drain_duration_seconds",
        "summary",
        "Seconds from the order to leave or to end until a process had answered all that it had in hand.",
        [("_sum", places.DRAIN_SECONDS), ("_count", places.DRAINS)],
        form="%r",
    ),
)

OF_TOKENS = (
    _one("rnnserve_token_requests_total", "counter", "Inference requests let in, by token.", places.TOKEN_REQUESTS),
    _one("rnnserve_token_limited_total", "counter", "Requests that a token's limits refused.", places.TOKEN_LIMITED),
)
"""What there is of each token (--tokens)."""

_STATUSES = len(front_counts.STATUSES) + 1
_TLS_RELOADS = _STATUSES + len(front_counts.ENDED)

OF_FRONTS = (
    Family(
        "rnnserve_http_refusals_total",
        "counter",
        "Requests that the HTTP front has refused itself, without the server, by HTTP status.",
        tuple(f'{{status="{status}"}} %d' for status in (*front_counts.STATUSES, "other")),
        lambda numbers: numbers[:_STATUSES],
    ),
    Family(
        "rnnserve_http_connections_ended_total",
        "counter",
        "Connections that the HTTP front has ended.",
        tuple(f'{{reason="{reason}"}} %d' for reason in front_counts.ENDED),
        lambda numbers: numbers[_STATUSES:_TLS_RELOADS],
    ),
    Family(
        "rnnserve_http_tls_reloads_total",
        "counter",
        "Times that a process of the HTTP front found new files for TLS.",
        tuple(f'{{outcome="{outcome}"}} %d' for outcome in front_counts.TLS_RELOADS),
        lambda numbers: numbers[_TLS_RELOADS:],
    ),
)
"""What HTTP fronts count themselves; their row is that of `front_counts`."""

TRITON = (
    Family(
        "nv_inference_request_success",
        "counter",
        "Answered requests.",
        (f"{{{LABELS}}} %d",),
        lambda counts: (counts[places.ANSWERED] - counts[places.REFUSED_AFTER_RUN],),
    ),
    _triton_failures(),
    _one("nv_inference_count", "counter", "Answered rows.", places.ROWS),
    Family("nv_inference_exec_count", "counter", "Runs.", (f"{{{LABELS}}} %d",), lambda counts: (places.runs(counts),)),
    _one("nv_inference_pending_request_count", "gauge", "Requests that wait.", places.QUEUED),
    _one("nv_inference_queue_duration_us", "counter", "Of waiting.", places.WAIT_SECONDS, factor=1e6, form="%r"),
    _one(
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Of runs.",
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
        form="%r",
    ),
    _one(
        "nv_inference_request_duration_us",
        "counter",
        "Of waiting and runs.",
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
        form="%r",
    ),
)
"""The same numbers under Triton's names: durations in microseconds."""
