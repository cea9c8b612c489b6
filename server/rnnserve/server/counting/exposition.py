"""What /metrics exposes: families over the numbers of each row (`places`), as a collector of prometheus_client.

Counters are of all processes that there have been, gauges of those that live. Histograms have seconds, or rows.
prometheus_client is imported at the first scrape, since importing it takes 0.1 s.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from rnnserve.common import front_counts
from rnnserve.server.counting import places
from rnnserve.server.counting.table import OTHER
from rnnserve.server.counting.totals import Totals

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ALL", "SECTIONS", "Exposition", "Family"]

Numbers: TypeAlias = Sequence[float]
"""Those of a row (`places`), or of what else a family is of."""

Samples: TypeAlias = Iterable[tuple[str, Mapping[str, str], float]]
"""Of each sample what follows the family's name, its labels beside those of its row, and its value."""

RESTART_REASONS = ("died", "hung")
"""Why workers are replaced."""

_NONE: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of metrics.

    Attributes:
        name: Its name.
        kind: counter, gauge, histogram, summary; unknown for Triton's counters, whose names don't end in _total.
        about: What it counts.
        samples: Function from a row's numbers to its samples.
        labels: Names of labels that a row has beside its model and version.
    """

    name: str
    kind: str
    about: str
    samples: Callable[[Numbers], Samples]
    labels: tuple[str, ...] = ()


def _sum_of(name: str, kind: str, about: str, *chosen: int, factor: float = 1.0) -> Family:
    """A family of one sample a row: the sum of some of its numbers."""
    return Family(name, kind, about, lambda numbers: [("", _NONE, factor * sum(numbers[each] for each in chosen))])


def _labelled(name: str, about: str, label: str, chosen: Mapping[str, int]) -> Family:
    """A counter with a sample for each value of a label."""
    labels = [({label: value}, place) for value, place in chosen.items()]
    return Family(name, "counter", about, lambda numbers: [("", each, numbers[place]) for each, place in labels])


def _histogram(name: str, about: str, first: int, bounds: Sequence[float], *sums: int) -> Family:
    edges = [{"le": repr(bound) if bound % 1 else str(int(bound))} for bound in bounds] + [{"le": "+Inf"}]

    def samples(numbers: Numbers) -> Samples:
        cumulative = list(accumulate(numbers[first : first + len(edges)]))
        yield from (("_bucket", edge, number) for edge, number in zip(edges, cumulative, strict=True))
        yield "_sum", _NONE, sum(numbers[place] for place in sums)
        yield "_count", _NONE, cumulative[-1]

    return Family(name, "histogram", about, samples)


def _info(name: str, about: str, *labels: str) -> Family:
    return Family(name, "gauge", about, lambda _: [("", _NONE, 1.0)], labels)


_CODES = tuple(dict.fromkeys(code for code, _ in places.REFUSALS))


def _requests(*, has_answers: bool) -> Family:
    """Requests by protocol and status, with those that were answered or without."""

    def samples(numbers: Numbers) -> Samples:
        http = numbers[places.HTTP_ANSWERED]
        grpc = numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN] - http
        for protocol, answered, first in (("grpc", grpc, places.REFUSED), ("http", http, places.HTTP_REFUSED)):
            by_code = dict.fromkeys(_CODES, 0.0)
            for (code, _), number in zip(places.REFUSALS, numbers[first:], strict=False):
                by_code[code] += number
            for code, number in {**({"OK": answered} if has_answers else {}), **by_code}.items():
                yield "", {"protocol": protocol, "code": code}, number

    about = "Inference requests that were answered, by protocol and gRPC status."
    return Family("rnnserve_requests_total", "counter", about, samples)


_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Triton's reason of a failure by its status; OTHER for all others."""


def _triton_failures(numbers: Numbers) -> Samples:
    by_reason = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0.0)
    for (code, _), number in zip(places.REFUSALS, places.refusals(numbers), strict=True):
        by_reason[_TRITON_REASONS.get(code, "OTHER")] += number
    return [("", {"reason": reason}, number) for reason, number in by_reason.items()]


_REFUSAL_LABELS = [{"code": code, "reason": reason} for code, reason in places.REFUSALS]

_REFUSALS = Family(
    "rnnserve_refusals_total",
    "counter",
    "Inference requests that were not answered well, by gRPC status and reason: the name of the server's error.",
    lambda numbers: [
        ("", labels, number) for labels, number in zip(_REFUSAL_LABELS, places.refusals(numbers), strict=True)
    ],
)
_OF_OTHER = {family.name: family for family in (_requests(has_answers=False), _REFUSALS)}
"""What there is of requests for models that do not serve."""

_OF_VERSIONS = (
    _requests(has_answers=True),
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
        "Seconds of a run, which requests may share.",
        places.RUN_BUCKETS,
        places.SECONDS_BOUNDS,
        places.RUN_SECONDS,
    ),
    _histogram(
        "rnnserve_batch_rows", "Rows of a run, without padding.", places.ROW_BUCKETS, places.ROW_BOUNDS, places.ROWS
    ),
    _sum_of("rnnserve_steps_total", "counter", "Steps of the rows of all runs, without padding.", places.STEPS),
    _sum_of("rnnserve_padded_steps_total", "counter", "Steps of padding of all runs.", places.PADDED_STEPS),
    _sum_of("rnnserve_requests_queued", "gauge", "Requests that wait for their run.", places.QUEUED),
    Family(
        "rnnserve_model_ready",
        "gauge",
        "1 where a process serves this version, else 0.",
        lambda numbers: [("", _NONE, float(numbers[places.READY] > 0))],
    ),
)

_OF_PROCESS = (
    _sum_of(
        "rnnserve_requests_in_flight",
        "gauge",
        "Inference requests that have arrived, and whose answers have not been sent; with --plain without those of "
        "streams.",
        places.IN_FLIGHT,
    ),
    _sum_of("rnnserve_held_bytes", "gauge", "Bytes that requests and responses in hand hold.", places.HELD_BYTES),
    _sum_of("rnnserve_sequences_live", "gauge", "Sequences whose states are kept.", places.SEQUENCES),
    _labelled(
        "rnnserve_sequence_evictions_total",
        "Sequences that were dropped, by reason.",
        "reason",
        {"idle": places.EVICTED},
    ),
    _labelled(
        "rnnserve_model_loads_total",
        "Versions that were tried, in each process: those whose golden results hold, and those that stay out.",
        "outcome",
        {"ready": places.LOADED, "refused": places.NOT_LOADED},
    ),
    _labelled(
        "rnnserve_config_reload_total",
        "Times that SIGHUP has had the repository loaded again; one that is refused changes nothing.",
        "outcome",
        {"ready": places.RELOADED, "refused": places.NOT_RELOADED},
    ),
    _labelled(
        "rnnserve_tls_reloads_total",
        "Times that a process found new files for TLS on its gRPC port; those that are refused change nothing.",
        "outcome",
        {"ready": places.TLS_RELOADED, "refused": places.TLS_NOT_RELOADED},
    ),
    _labelled(
        "rnnserve_tokens_reload_total",
        "Times that a process has read a changed file of tokens, or of client roles; one that is refused changes "
        "nothing.",
        "outcome",
        {"ready": places.TOKENS_READ, "refused": places.TOKENS_NOT_READ},
    ),
    Family(
        "rnnserve_drain_duration_seconds",
        "summary",
        "Seconds from the order to leave or to end until a process had answered all that it had in hand; seen of "
        "workers that were replaced.",
        lambda numbers: [("_sum", _NONE, numbers[places.DRAIN_SECONDS]), ("_count", _NONE, numbers[places.DRAINS])],
    ),
)

_CERTIFICATE_END = _sum_of(
    "rnnserve_tls_not_after_timestamp_seconds",
    "gauge",
    "When the certificate that is served ends, in seconds since the epoch; only with TLS.",
    places.TLS_NOT_AFTER,
)

_RESTARTS = _labelled(
    "rnnserve_worker_restarts_total",
    "Workers that were replaced, by reason.",
    "reason",
    {reason: place for place, reason in enumerate(RESTART_REASONS)},
)

_OF_TOKENS = (
    _sum_of(
        "rnnserve_token_requests_total",
        "counter",
        "Inference requests let in, by the name of their token.",
        places.TOKEN_REQUESTS,
    ),
)

_MODEL_INFO = _info(
    "rnnserve_model_info",
    "What serves, and how: the first digits of the SHA-256 of its graph, the version of its operators, whether it was "
    "compared (proven) or not (none), exported or adopted, where it runs, which graph, and which rows share a run.",
    *("digest8", "opset", "parity", "origin", "provider", "graph", "batching"),
)
_BUILD_INFO = _info("rnnserve_build_info", "The version of the server.", "version")

_OF_FRONTS = (
    _labelled(
        "rnnserve_http_refusals_total",
        "Requests that the HTTP gateway has refused itself, by HTTP status: no JSON, no such route, too large.",
        "status",
        {str(status): place for place, status in enumerate((*front_counts.STATUSES, "other"))},
    ),
    _labelled(
        "rnnserve_http_connections_ended_total",
        "Connections that the HTTP gateway has ended: their client was waited for too long (late), another one needed "
        "the place (gave_way), there was no place (too_many), or they have not become connections of TLS.",
        "reason",
        {reason: len(front_counts.STATUSES) + 1 + place for place, reason in enumerate(front_counts.ENDED)},
    ),
    _labelled(
        "rnnserve_http_tls_reloads_total",
        "Times that a process of the HTTP gateway found new files for TLS; those that are refused change nothing.",
        "outcome",
        {outcome: place - len(front_counts.TLS_RELOADS) for place, outcome in enumerate(front_counts.TLS_RELOADS)},
    ),
)
"""What HTTP gateways count themselves; their row is that of `front_counts`."""

_TRITON = (
    Family(
        "nv_inference_request_success",
        "unknown",
        "Answered requests.",
        lambda numbers: [("", _NONE, numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN])],
    ),
    Family("nv_inference_request_failure", "unknown", "Refused requests, by Triton's reasons.", _triton_failures),
    _sum_of("nv_inference_count", "unknown", "Rows of runs.", places.ROWS),
    Family("nv_inference_exec_count", "unknown", "Runs.", lambda numbers: [("", _NONE, places.runs(numbers))]),
    _sum_of("nv_inference_pending_request_count", "gauge", "Requests that wait for their run.", places.QUEUED),
    _sum_of("nv_inference_queue_duration_us", "unknown", "Microseconds of waiting.", places.WAIT_SECONDS, factor=1e6),
    _sum_of(
        "nv_inference_compute_infer_duration_us",
        "unknown",
        "Microseconds of runs, the whole of one for each request in it.",
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
    ),
    _sum_of(
        "nv_inference_request_duration_us",
        "unknown",
        "Microseconds of waiting and runs.",
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
    ),
)
"""The same numbers under Triton's names: durations in microseconds."""

SECTIONS = (
    ("Of each version", ("model", "version"), _OF_VERSIONS),
    ("Of what serves", (), (_MODEL_INFO, _BUILD_INFO)),
    ("Of the server's processes", (), (*_OF_PROCESS, _CERTIFICATE_END, _RESTARTS)),
    ("Of each token", ("token",), _OF_TOKENS),
    ("Of the HTTP gateway", (), _OF_FRONTS),
    ("Triton's names", ("model", "version"), _TRITON),
)
"""Every family that there can be: a heading, the labels of each of its rows, and the families."""

ALL = tuple(family for _, _, families in SECTIONS for family in families)


class Exposition:
    """A collector of prometheus_client."""

    def __init__(self, totals: Totals, version: str) -> None:
        """Expose the totals of all processes of a server of this version."""
        self._totals = totals
        self._version = version

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Write all metrics in the format that a header Accept asks for; return the text and its type."""
        from prometheus_client.exposition import choose_encoder

        encoder, content_type = choose_encoder(accept)
        return encoder(self), content_type

    def collect(self) -> "Iterator[Metric]":
        """Yield each family that has samples."""
        sums = self._totals.sums()
        process = sums[places.OF_PROCESS].counts if places.OF_PROCESS in sums else [0.0] * places.PLACES
        versions, tokens, known = [], [], []
        for (model, version), total in sorted(sums.items(), key=lambda item: item[0]):
            if token := places.token_of_row(model):
                tokens.append(({"token": token}, total.counts))
            elif model:
                versions.append(({"model": model, "version": version}, total.counts))
                if total.about:
                    known.append(({"model": model, "version": version, **total.about}, total.counts))
        restarts = [float(self._totals.restarts.get(reason, 0)) for reason in RESTART_REASONS]
        for families, rows in (
            (_OF_VERSIONS + _TRITON, versions),
            (_OF_PROCESS, [(_NONE, process)]),
            (_OF_TOKENS, tokens),
            (_OF_FRONTS, [(_NONE, self._totals.of_fronts())]),
            ([_CERTIFICATE_END], [(_NONE, process)] if process[places.TLS_NOT_AFTER] else []),
            ([_RESTARTS], [(_NONE, restarts)]),
            ([_MODEL_INFO], known),
            ([_BUILD_INFO], [({"version": self._version}, ())]),
        ):
            for family in families:
                if metric := _metric(family, rows):
                    yield metric


def _metric(family: Family, rows: Iterable[tuple[Mapping[str, str], Numbers]]) -> "Metric | None":
    """A family with the samples of some rows; None if there is none."""
    from prometheus_client import Metric
    from prometheus_client.samples import Sample

    metric = Metric(family.name.removesuffix("_total"), family.about, family.kind)
    for labels, numbers in rows:
        of_row = _OF_OTHER.get(family.name) if labels.get("model") == OTHER else family
        if of_row is not None:
            metric.samples += [
                Sample(family.name + suffix, {**labels, **more}, value)
                for suffix, more, value in of_row.samples(numbers)
            ]
    return metric if metric.samples else None
