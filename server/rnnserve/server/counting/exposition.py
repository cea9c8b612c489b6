"""The metrics at /metrics: families computed from each row's numbers (`places`), as a prometheus_client collector.

Counters include all processes since the start, gauges only the live ones. Histograms have seconds, or rows.

prometheus_client is imported at the first scrape, because importing it takes 0.1 s.
"""

import operator
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rnnserve.common.gateway_counts import REFUSED, GatewayCounts
from rnnserve.server.counting import places
from rnnserve.server.counting.table import OTHER, CountTable

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ALL", "SECTIONS", "Exposition", "Family", "Total", "Totals"]

Numbers: TypeAlias = Sequence[float]
"""The numbers of a row (`places`), or of the HTTP gateway (`gateway_counts`)."""

Samples: TypeAlias = Iterable[tuple[str, Mapping[str, str], float]]
"""For each sample: the suffix of the family's name, the labels in addition to the row's, and the value."""

_SETTLING_SECONDS = 5e-3
"""Maximum total seconds that a reader waits for processes that are sending responses (`places.is_settled`)."""


class Total(NamedTuple):
    """The counts of a version over all processes, and its descriptive labels while it is served."""

    about: dict[str, str]
    counts: list[float]


class Totals:
    """Sums the tables of live processes and the final counts of ended processes. Thread-safe."""

    def __init__(self) -> None:
        self.gateways: list[GatewayCounts] = []  # one per process of the HTTP gateway
        self._lock = threading.Lock()
        self._living: list[CountTable] = []
        self._ended: dict[tuple[str, str], Total] = {}

    def add(self, table: CountTable) -> None:
        """Include a table from now on."""
        with self._lock:
            self._living.append(table)

    def keep(self, table: CountTable) -> None:
        """Keep the final counts of an ended process, and close its table."""
        with self._lock:
            self._living.remove(table)
            for row in table.rows():
                for place in places.GAUGES:
                    row.counts[place] = 0.0
            self._ended = {name: Total({}, total.counts) for name, total in self._sums([table]).items()}
        table.close()

    def of_gateway(self) -> list[float]:
        """Return the sum of the counts of the HTTP gateway's processes."""
        each = [gateway.numbers() for gateway in self.gateways]
        return [sum(numbers) for numbers in zip([0.0] * len(REFUSED), *each, strict=True)]

    def sums(self) -> dict[tuple[str, str], Total]:
        """Return the totals by model and version, named as in `TableRow`."""
        with self._lock:
            return self._sums(self._living)

    def _sums(self, tables: Iterable[CountTable]) -> dict[tuple[str, str], Total]:
        until = time.monotonic() + _SETTLING_SECONDS
        totals = dict(self._ended)
        for model, version, about, counts in (row for table in tables for row in table.rows()):
            numbers = list(counts)
            while not places.is_settled(numbers) and time.monotonic() < until:
                time.sleep(0.1e-3)
                numbers = list(counts)
            before = totals.get((model, version))
            if before is not None:
                about = before.about | about
                ends = [each[places.TLS_NOT_AFTER] for each in (before.counts, numbers)]
                numbers = list(map(operator.add, before.counts, numbers))
                numbers[places.TLS_NOT_AFTER] = min(filter(None, ends), default=0.0)
            totals[model, version] = Total(about, numbers)
        return totals


class Family(NamedTuple):
    """A family of metrics."""

    name: str
    kind: str  # counter, gauge, histogram, or unknown for Triton's (no _total)
    about: str
    samples: Callable[[Numbers], Samples]  # computes samples from a row's numbers
    labels: tuple[str, ...] = ()  # further labels of a row in this family
    is_of_other: bool = False  # whether to include requests for models that aren't served


def _sum_of(name: str, kind: str, about: str, *chosen: int, factor: float = 1.0) -> Family:
    """Create a family with one sample per row: the sum of some of its numbers."""
    return Family(name, kind, about, lambda numbers: [("", {}, factor * sum(numbers[each] for each in chosen))])


def _labelled(name: str, about: str, label: str, chosen: Mapping[str, int]) -> Family:
    """Create a counter with a sample for each value of a label."""
    labels = [({label: value}, place) for value, place in chosen.items()]
    return Family(name, "counter", about, lambda numbers: [("", each, numbers[place]) for each, place in labels])


def _histogram(name: str, about: str, first: int, bounds: Sequence[float], *sums: int) -> Family:
    edges = [{"le": repr(bound) if bound % 1 else str(int(bound))} for bound in bounds] + [{"le": "+Inf"}]

    def samples(numbers: Numbers) -> Samples:
        cumulative = list(accumulate(numbers[first : first + len(edges)]))
        yield from (("_bucket", edge, number) for edge, number in zip(edges, cumulative, strict=True))
        yield "_sum", {}, sum(numbers[place] for place in sums)
        yield "_count", {}, cumulative[-1]

    return Family(name, "histogram", about, samples)


_CODES = tuple(dict.fromkeys(code for code, _ in places.REFUSALS))


def _requests(numbers: Numbers) -> Samples:
    http = numbers[places.HTTP_ANSWERED]
    grpc = numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN] - http
    for protocol, answered, first in (("grpc", grpc, places.REFUSED), ("http", http, places.HTTP_REFUSED)):
        by_code = {"OK": answered} | dict.fromkeys(_CODES, 0.0)
        for (code, _), number in zip(places.REFUSALS, numbers[first:], strict=False):
            by_code[code] += number
        for code, number in by_code.items():
            yield "", {"protocol": protocol, "code": code}, number


_REFUSAL_LABELS = [{"code": code, "reason": reason} for code, reason in places.REFUSALS]


def _refusals(numbers: Numbers) -> Samples:
    return [("", labels, number) for labels, number in zip(_REFUSAL_LABELS, places.refusals(numbers), strict=True)]


_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Triton's failure reason by gRPC status; OTHER for all other statuses."""


def _triton_failures(numbers: Numbers) -> Samples:
    by_reason = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0.0)
    for (code, _), number in zip(places.REFUSALS, places.refusals(numbers), strict=True):
        by_reason[_TRITON_REASONS.get(code, "OTHER")] += number
    return [("", {"reason": reason}, number) for reason, number in by_reason.items()]


_OF_VERSIONS = (
    Family(
        "rnnserve_requests_total",
        "counter",
        "Answered inference requests, by protocol and gRPC status.",
        _requests,
        is_of_other=True,
    ),
    Family(
        "rnnserve_refusals_total",
        "counter",
        "Refused inference requests, by gRPC status and reason (the name of the server's error).",
        _refusals,
        is_of_other=True,
    ),
    _histogram(
        "rnnserve_request_duration_seconds",
        "Seconds from the arrival of an answered request to the end of its inference call.",
        places.ANSWER_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
    ),
    _histogram(
        "rnnserve_queue_duration_seconds",
        "Seconds that an answered request waited for its inference call.",
        places.WAIT_BUCKETS,
        places.SECONDS_BOUNDS,
        places.WAIT_SECONDS,
    ),
    _histogram(
        "rnnserve_run_duration_seconds",
        "Seconds of an inference call, which requests may share.",
        places.RUN_BUCKETS,
        places.SECONDS_BOUNDS,
        places.RUN_SECONDS,
    ),
    _histogram(
        "rnnserve_batch_rows", "Rows of a batch, without padding.", places.ROW_BUCKETS, places.ROW_BOUNDS, places.ROWS
    ),
    _sum_of("rnnserve_steps_total", "counter", "Steps of the rows of all batches, without padding.", places.STEPS),
    _sum_of("rnnserve_padded_steps_total", "counter", "Padding steps of all batches.", places.PADDED_STEPS),
    _sum_of("rnnserve_requests_queued", "gauge", "Pending requests.", places.QUEUED),
    Family(
        "rnnserve_model_ready",
        "gauge",
        "1 if a process serves this version, else 0.",
        lambda numbers: [("", {}, float(numbers[places.READY] > 0))],
    ),
)

_OF_PROCESS = (
    _sum_of(
        "rnnserve_requests_in_flight",
        "gauge",
        "Inference requests in flight: arrived, but their responses have not been sent; with --plain, without "
        "those of streams.",
        places.IN_FLIGHT,
    ),
    _sum_of("rnnserve_held_bytes", "gauge", "Bytes of requests and responses in flight.", places.HELD_BYTES),
    _sum_of("rnnserve_sequences_live", "gauge", "Sequences with server-side state.", places.SEQUENCES),
    _labelled(
        "rnnserve_sequence_evictions_total",
        "Dropped sequences, by reason.",
        "reason",
        {"idle": places.EVICTED},
    ),
    _labelled(
        "rnnserve_model_loads_total",
        "Load-checked versions, per process: accepted (their golden results are reproduced) or refused.",
        "outcome",
        {"ready": places.LOADED, "refused": places.NOT_LOADED},
    ),
    _labelled(
        "rnnserve_config_reload_total",
        "Reloads of the repository by SIGHUP; a refused reload changes nothing.",
        "outcome",
        {"ready": places.RELOADED, "refused": places.NOT_RELOADED},
    ),
    _labelled(
        "rnnserve_tls_reloads_total",
        "Reloads of the TLS files of the gRPC port, per process; a refused reload changes nothing.",
        "outcome",
        {"ready": places.TLS_RELOADED, "refused": places.TLS_NOT_RELOADED},
    ),
    _labelled(
        "rnnserve_tokens_reload_total",
        "Reloads of the token file or the file of client roles, per process; a refused reload changes nothing.",
        "outcome",
        {"ready": places.TOKENS_READ, "refused": places.TOKENS_NOT_READ},
    ),
    Family(
        "rnnserve_tls_not_after_timestamp_seconds",
        "gauge",
        "Expiry of the served certificate, in seconds since the epoch; only with TLS.",
        lambda numbers: [("", {}, end) for end in [numbers[places.TLS_NOT_AFTER]] if end],
    ),
    _labelled("rnnserve_worker_restarts_total", "Replaced workers, by reason.", "reason", places.WORKER_RESTARTS),
)

_OF_TOKENS = (
    _sum_of(
        "rnnserve_token_requests_total",
        "counter",
        "Accepted inference requests, by the name of their token.",
        places.TOKEN_REQUESTS,
    ),
)

_MODEL_INFO = Family(
    "rnnserve_model_info",
    "gauge",
    "The served versions: the first digits of the graph's SHA-256, whether the version was compared (proven) or "
    "not (none), exported or adopted (imported), its device, its graph, and which rows share a batch.",
    lambda _: [("", {}, 1.0)],
    ("digest8", "parity", "origin", "provider", "graph", "batching"),
)
_BUILD_INFO = Family(
    "rnnserve_build_info", "gauge", "The version of the server.", lambda _: [("", {}, 1.0)], ("version",)
)

_OF_GATEWAY = (
    _labelled(
        "rnnserve_http_refusals_total",
        "Requests refused by the HTTP gateway itself, by HTTP status: invalid JSON, unknown route, too large.",
        "status",
        REFUSED,
    ),
)
"""Counts of the HTTP gateway's processes, from the rows of `gateway_counts`."""

_TRITON = (
    Family(
        "nv_inference_request_success",
        "unknown",
        "Answered requests.",
        lambda numbers: [("", {}, numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN])],
    ),
    Family("nv_inference_request_failure", "unknown", "Refused requests, by Triton's reasons.", _triton_failures),
    _sum_of("nv_inference_count", "unknown", "Rows of all batches.", places.ROWS),
    Family("nv_inference_exec_count", "unknown", "Inference calls.", lambda numbers: [("", {}, places.runs(numbers))]),
    _sum_of("nv_inference_pending_request_count", "gauge", "Pending requests.", places.QUEUED),
    _sum_of("nv_inference_queue_duration_us", "unknown", "Microseconds of waiting.", places.WAIT_SECONDS, factor=1e6),
    _sum_of(
        "nv_inference_compute_infer_duration_us",
        "unknown",
        "Microseconds of inference calls, counted in full for each request in the batch.",
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
    ),
    _sum_of(
        "nv_inference_request_duration_us",
        "unknown",
        "Microseconds of waiting and inference.",
        places.WAIT_SECONDS,
        places.REQUEST_RUN_SECONDS,
        factor=1e6,
    ),
)
"""The same numbers under Triton's names, with durations in microseconds."""

SECTIONS = (
    ("Per version", ("model", "version"), _OF_VERSIONS),
    ("Models and build", (), (_MODEL_INFO, _BUILD_INFO)),
    ("Server processes", (), _OF_PROCESS),
    ("Per token", ("token",), _OF_TOKENS),
    ("HTTP gateway", (), _OF_GATEWAY),
    ("Triton's names", ("model", "version"), _TRITON),
)
"""All families: a heading, the labels of each row, and the families."""

ALL = tuple(family for _, _, families in SECTIONS for family in families)


class Exposition:
    """A collector of prometheus_client."""

    def __init__(self, totals: Totals, version: str) -> None:
        """Expose the totals of all processes of a server of this version."""
        self._totals = totals
        self._version = version

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in the format that the Accept header requests, and the content type."""
        from prometheus_client.exposition import choose_encoder

        encoder, content_type = choose_encoder(accept)
        return encoder(self), content_type

    def collect(self) -> "Iterator[Metric]":
        """Yield each family that has samples."""
        sums = self._totals.sums()
        process = sums.pop(("", ""), Total({}, [0.0] * places.PLACES)).counts
        versions: list[tuple[Mapping[str, str], Numbers]] = []
        tokens, known = versions[:], versions[:]
        for (model, version), total in sorted(sums.items()):
            labels = {"model": model, "version": version}
            if model:
                versions.append((labels, total.counts))
            else:
                tokens.append(({"token": version}, total.counts))
            if total.about:
                known.append((labels | total.about, total.counts))
        for families, rows in (
            (_OF_VERSIONS + _TRITON, versions),
            (_OF_PROCESS, [({}, process)]),
            (_OF_TOKENS, tokens),
            (_OF_GATEWAY, [({}, self._totals.of_gateway())]),
            ([_MODEL_INFO], known),
            ([_BUILD_INFO], [({"version": self._version}, ())]),
        ):
            for family in families:
                if metric := _metric(family, rows):
                    yield metric


def _metric(family: Family, rows: Iterable[tuple[Mapping[str, str], Numbers]]) -> "Metric | None":
    """Return a family with the samples of these rows, or None without samples."""
    from prometheus_client import Metric
    from prometheus_client.samples import Sample

    metric = Metric(family.name.removesuffix("_total"), family.about, family.kind)
    metric.samples = [
        Sample(family.name + suffix, {**labels, **more}, value)
        for labels, numbers in rows
        if family.is_of_other or labels.get("model") != OTHER
        for suffix, more, value in family.samples(numbers)
    ]
    return metric if metric.samples else None
