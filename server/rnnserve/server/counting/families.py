"""The families of metrics: of each its samples, as text with places for the numbers, and the numbers from a row."""

from collections.abc import Sequence
from operator import itemgetter

from rnnserve.common import front_counts
from rnnserve.server.counting import places
from rnnserve.server.counting.family import LABELS, Family, Numbers, histogram, info, of_process, one

__all__ = [
    "ALL",
    "BUILD_INFO",
    "CERTIFICATE_END",
    "MODEL_INFO",
    "OF_FRONTS",
    "OF_OTHER",
    "OF_PROCESS",
    "OF_TOKENS",
    "OF_VERSIONS",
    "RESTARTS",
    "RESTART_REASONS",
    "TRITON",
]

RESTART_REASONS = ("died", "hung", "stopped")
"""Why workers are replaced."""

_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Triton's reason of a failure by its status; OTHER for all others."""


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
    about = "Inference requests that were answered, by protocol and gRPC status."
    return Family("rnnserve_requests_total", "counter", about, tuple(samples), numbers)


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
    return Family("nv_inference_request_failure", "counter", "Refused requests, by Triton's reasons.", samples, numbers)


_REFUSALS = Family(
    "rnnserve_refusals_total",
    "counter",
    "Inference requests that were not answered well, by gRPC status and reason: the name of the server's error.",
    tuple(f'{{{LABELS},code="{code}",reason="{reason}"}} %d' for code, reason in places.REFUSALS),
    places.refusals,
)
OF_OTHER = (_requests(()), _REFUSALS)
"""What there is of requests for models that do not serve."""

OF_VERSIONS = (
    _requests(("OK",)),
    _REFUSALS,
    histogram(
        "rnnserve_request_duration_seconds",
        "Seconds from the arrival of an answered request to the end of its run.",
        places.ANSWER_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
    ),
    histogram(
        "rnnserve_queue_duration_seconds",
        "Seconds that an answered request has waited for its run.",
        places.WAIT_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
    ),
    histogram(
        "rnnserve_run_duration_seconds",
        "Seconds of a run, which requests may share.",
        places.RUN_BUCKETS,
        places.SECONDS_BOUNDS,
        places.RUN_SECONDS,
    ),
    histogram(
        "rnnserve_batch_rows",
        "Rows of a run, without padding.",
        places.ROW_BUCKETS,
        places.ROW_BOUNDS,
        places.ROWS,
        form="%d",
    ),
    one("rnnserve_steps_total", "counter", "Steps of the rows of all runs, without padding.", places.STEPS),
    one("rnnserve_padded_steps_total", "counter", "Steps of padding of all runs.", places.PADDED_STEPS),
    one("rnnserve_requests_queued", "gauge", "Requests that wait for their run.", places.QUEUED),
    Family(
        "rnnserve_model_ready",
        "gauge",
        "1 where a process serves this version, else 0.",
        (f"{{{LABELS}}} %d",),
        lambda counts: (float(counts[places.READY] > 0),),
    ),
)


OF_PROCESS = (
    of_process(
        "rnnserve_requests_in_flight",
        "gauge",
        "Inference requests that have arrived, and whose answers have not been sent; on the public transport without "
        "those of streams.",
        [("", places.IN_FLIGHT)],
    ),
    of_process(
        "rnnserve_held_bytes",
        "gauge",
        "Bytes that requests and responses in hand hold.",
        [("", places.HELD_BYTES)],
    ),
    of_process("rnnserve_sequences_live", "gauge", "Sequences whose states are kept.", [("", places.SEQUENCES)]),
    of_process(
        "rnnserve_sequence_evictions_total",
        "counter",
        "Sequences that were dropped, by reason.",
        [('{reason="idle"}', places.EVICTED)],
    ),
    of_process(
        "rnnserve_model_loads_total",
        "counter",
        "Versions that were tried, in each process: those whose golden results hold, and those that stay out.",
        [('{outcome="ready"}', places.LOADED), ('{outcome="refused"}', places.NOT_LOADED)],
    ),
    of_process(
        "rnnserve_connections_ended_total",
        "counter",
        "Connections of gRPC clients that were ended because they do harm.",
        [('{reason="header_fields"}', places.HOSTILE)],
    ),
    of_process(
        "rnnserve_config_reload_total",
        "counter",
        "Times that SIGHUP has had the repository loaded again; one that is refused changes nothing.",
        [('{outcome="ready"}', places.RELOADED), ('{outcome="refused"}', places.NOT_RELOADED)],
    ),
    of_process(
        "rnnserve_tls_reloads_total",
        "counter",
        "Times that a process found new files for TLS on its gRPC port; those that are refused change nothing.",
        [('{outcome="ready"}', places.TLS_RELOADED), ('{outcome="refused"}', places.TLS_NOT_RELOADED)],
    ),
    of_process(
        "rnnserve_tokens_reload_total",
        "counter",
        "Times that a process has read a changed file of tokens, or of client roles; one that is refused changes "
        "nothing.",
        [('{outcome="ready"}', places.TOKENS_READ), ('{outcome="refused"}', places.TOKENS_NOT_READ)],
    ),
    of_process(
        "rnnserve_drain_duration_seconds",
        "summary",
        "Seconds from the order to leave or to end until a process had answered all that it had in hand; seen of "
        "workers that were replaced.",
        [("_sum", places.DRAIN_SECONDS), ("_count", places.DRAINS)],
        form="%r",
    ),
)

OF_TOKENS = (
    one(
        "rnnserve_token_requests_total",
        "counter",
        "Inference requests let in, by the name of their token.",
        places.TOKEN_REQUESTS,
    ),
)
"""What there is of each token (--tokens)."""

CERTIFICATE_END = of_process(
    "rnnserve_tls_not_after_timestamp_seconds",
    "gauge",
    "When the certificate that is served ends, in seconds since the epoch; only with TLS.",
    [("", places.TLS_NOT_AFTER)],
)

RESTARTS = Family(
    "rnnserve_worker_restarts_total",
    "counter",
    "Workers that were replaced, by reason.",
    tuple(f'{{reason="{reason}"}} %d' for reason in RESTART_REASONS),
    lambda numbers: numbers,
)
"""What a supervisor counts; its row is that of `RESTART_REASONS`."""


MODEL_INFO = info(
    "rnnserve_model_info",
    "What serves, and how: the first digits of the SHA-256 of its graph, the version of its operators, whether it was "
    "compared (proven) or not (none), exported or adopted, where it runs, which graph, and which rows share a run.",
    *("digest8", "opset", "parity", "origin", "provider", "graph", "batching"),
)

BUILD_INFO = info("rnnserve_build_info", "The version of the server.", "version")

_STATUSES = len(front_counts.STATUSES) + 1
_TLS_RELOADS = _STATUSES + len(front_counts.ENDED)

OF_FRONTS = (
    Family(
        "rnnserve_http_refusals_total",
        "counter",
        "Requests that the HTTP front has refused itself, without the server, by HTTP status: no JSON, no such route, "
        "too large.",
        tuple(f'{{status="{status}"}} %d' for status in (*front_counts.STATUSES, "other")),
        lambda numbers: numbers[:_STATUSES],
    ),
    Family(
        "rnnserve_http_connections_ended_total",
        "counter",
        "Connections that the HTTP front has ended: their client was waited for too long (late), another one needed "
        "the place (gave_way), there was no place (too_many), or they have not become connections of TLS.",
        tuple(f'{{reason="{reason}"}} %d' for reason in front_counts.ENDED),
        lambda numbers: numbers[_STATUSES:_TLS_RELOADS],
    ),
    Family(
        "rnnserve_http_tls_reloads_total",
        "counter",
        "Times that a process of the HTTP front found new files for TLS; those that are refused change nothing.",
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
    one("nv_inference_count", "counter", "Rows of runs.", places.ROWS),
    Family("nv_inference_exec_count", "counter", "Runs.", (f"{{{LABELS}}} %d",), lambda counts: (places.runs(counts),)),
    one("nv_inference_pending_request_count", "gauge", "Requests that wait for their run.", places.QUEUED),
    one(
        "nv_inference_queue_duration_us",
        "counter",
        "Microseconds of waiting.",
        places.WAIT_SECONDS,
        factor=1e6,
        form="%r",
    ),
    one(
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Microseconds of runs, the whole of one for each request in it.",
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
        form="%r",
    ),
    one(
        "nv_inference_request_duration_us",
        "counter",
        "Microseconds of waiting and runs.",
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
        form="%r",
    ),
)
"""The same numbers under Triton's names: durations in microseconds."""

ALL = (*OF_VERSIONS, *OF_PROCESS, *OF_TOKENS, *OF_FRONTS, CERTIFICATE_END, RESTARTS, MODEL_INFO, BUILD_INFO, *TRITON)
"""Every family that there can be."""
