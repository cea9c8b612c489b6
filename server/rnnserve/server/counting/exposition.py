"""The text that Prometheus reads: format 0.0.4, written here, since all of it is made of one table of numbers.

Counters are of all processes that there have been, gauges of those that live. Histograms have seconds, or rows.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from rnnserve.server.counting import places
from rnnserve.server.counting.table import OTHER
from rnnserve.server.counting.totals import Total

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TRITON_REASONS = {
    "CANCELLED": "CANCELED",
    "RESOURCE_EXHAUSTED": "REJECTED",
    "UNAVAILABLE": "REJECTED",
    "INTERNAL": "BACKEND",
}
"""Triton's reason of a failure by its status; OTHER for all others."""

_HISTOGRAMS = (
    (
        "rnnserve_request_duration_seconds",
        "Seconds from the arrival of an answered request to the end of its run.",
        places.ANSWER_BUCKETS,
        places.SECONDS_BOUNDS,
        (places.WAIT_SECONDS, places.REQUEST_RUN_SECONDS),
    ),
    (
        "rnnserve_queue_duration_seconds",
        "Seconds that an answered request has waited for its run.",
        places.WAIT_BUCKETS,
        places.SECONDS_BOUNDS,
        (places.WAIT_SECONDS,),
    ),
    (
        "rnnserve_run_duration_seconds",
        "Seconds of a run, of which requests may share one.",
        places.RUN_BUCKETS,
        places.SECONDS_BOUNDS,
        (places.RUN_SECONDS,),
    ),
    (
        "rnnserve_batch_rows",
        "Rows of a run, without padding.",
        places.ROW_BUCKETS,
        places.ROW_BOUNDS,
        (places.ROWS,),
    ),
)

_Labels = Mapping[str, str]
_Samples = list[tuple[str, _Labels, float]]


def exposition(
    totals: Mapping[tuple[str, str], Total], restarts: Mapping[str, int], version: str, *, has_triton_names: bool = True
) -> bytes:
    """Write all metrics.

    Args:
        totals: Totals by model and version; the process's are those of ("", "").
        restarts: How often a worker was replaced, by reason.
        version: Version of the server.
        has_triton_names: Whether to write the same numbers under Triton's names, `nv_inference_…`, too.
    """
    process = totals.get(("", ""), Total()).counts
    models = [(name, total) for name, total in sorted(totals.items()) if name[0]]
    text = _Text()
    _add_models(text, models)
    _add_process(text, process, restarts, version)
    if has_triton_names:
        _add_triton(text, models)
    return text.encoded()


class _Text:
    """Families, written one after another."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, about: str, samples: Iterable[tuple[_Labels, float]]) -> None:
        """Write a family whose samples have its name."""
        self.add_parts(name, kind, about, [("", labels, value) for labels, value in samples])

    def add_parts(self, name: str, kind: str, about: str, samples: _Samples) -> None:
        """Write a family of samples whose names have these ends."""
        if samples:
            self._lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            self._lines += [f"{name}{end}{_labels(labels)} {_number(value)}" for end, labels, value in samples]

    def encoded(self) -> bytes:
        """The whole text."""
        return "".join(f"{line}\n" for line in self._lines).encode()


def _add_models(text: _Text, models: list[tuple[tuple[str, str], Total]]) -> None:
    requests: list[tuple[_Labels, float]] = []
    refusals: list[tuple[_Labels, float]] = []
    for (model, version), total in models:
        labels = {"model": model, "version": version}
        by_code: dict[str, float] = {}
        if model != OTHER:
            by_code["OK"] = total.counts[places.ANSWERED] - total.counts[places.REFUSED_AFTER_RUN]
        for (code, reason), value in zip(places.REFUSALS, total.counts[places.REFUSED : places.PLACES], strict=True):
            if value:
                by_code[code] = by_code.get(code, 0.0) + value
                refusals.append(({**labels, "code": code, "reason": reason}, value))
        requests += [({**labels, "code": code}, value) for code, value in by_code.items()]
    text.add("rnnserve_requests_total", "counter", "Inference requests that were answered, by status.", requests)
    text.add("rnnserve_refusals_total", "counter", "Those that were refused, by status and reason.", refusals)
    serving = [(name, total) for name, total in models if name[0] != OTHER]
    for name, about, first, bounds, sums in _HISTOGRAMS:
        samples: _Samples = []
        for (model, version), total in serving:
            samples += _histogram({"model": model, "version": version}, total.counts, first, bounds, sums)
        text.add_parts(name, "histogram", about, samples)
    for name, kind, about, place in (
        ("rnnserve_steps_total", "counter", "Steps of the rows of all runs, without padding.", places.STEPS),
        ("rnnserve_padded_steps_total", "counter", "Steps of padding of all runs.", places.PADDED_STEPS),
        ("rnnserve_requests_queued", "gauge", "Requests that wait for their run.", places.QUEUED),
    ):
        text.add(name, kind, about, _values(serving, place))
    ready = [({"model": name[0], "version": name[1]}, float(total.counts[places.READY] > 0)) for name, total in serving]
    text.add("rnnserve_model_ready", "gauge", "Whether a process serves this version.", ready)
    info = [({"model": name[0], "version": name[1], **total.about}, 1.0) for name, total in serving if total.about]
    text.add("rnnserve_model_info", "gauge", "What serves, and what was proven of it.", info)


def _add_process(text: _Text, process: list[float], restarts: Mapping[str, int], version: str) -> None:
    held, sequences = process[places.HELD_BYTES], process[places.SEQUENCES]
    text.add("rnnserve_held_bytes", "gauge", "Bytes that requests and responses in hand hold.", [({}, held)])
    text.add("rnnserve_sequences_live", "gauge", "Sequences whose states are kept.", [({}, sequences)])
    evicted = [({"reason": "idle"}, process[places.EVICTED])]
    text.add("rnnserve_sequence_evictions_total", "counter", "Sequences that were dropped.", evicted)
    loads = [
        ({"outcome": "proven"}, process[places.LOADED]),
        ({"outcome": "refused"}, process[places.NOT_LOADED]),
    ]
    text.add("rnnserve_model_loads_total", "counter", "Versions that were loaded, each in each process.", loads)
    replaced = [({"reason": reason}, float(restarts.get(reason, 0))) for reason in ("died", "hung", "stopped")]
    text.add("rnnserve_worker_restarts_total", "counter", "Workers that were replaced.", replaced)
    text.add("rnnserve_build_info", "gauge", "The server.", [({"version": version}, 1.0)])


def _add_triton(text: _Text, models: list[tuple[tuple[str, str], Total]]) -> None:
    """The same numbers under Triton's names: durations in microseconds."""
    serving = [(name, total) for name, total in models if name[0] != OTHER]
    labelled = [({"model": name[0], "version": name[1]}, total.counts) for name, total in serving]
    success = [(labels, n[places.ANSWERED] - n[places.REFUSED_AFTER_RUN]) for labels, n in labelled]
    text.add("nv_inference_request_success", "counter", "Answered requests.", success)
    failures: list[tuple[_Labels, float]] = []
    for labels, numbers in labelled:
        by_reason = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0.0)
        for (code, _), value in zip(places.REFUSALS, numbers[places.REFUSED : places.PLACES], strict=True):
            by_reason[_TRITON_REASONS.get(code, "OTHER")] += value
        failures += [({**labels, "reason": reason}, value) for reason, value in by_reason.items()]
    text.add("nv_inference_request_failure", "counter", "Refused requests.", failures)
    for name, kind, about, place, factor in (
        ("nv_inference_count", "counter", "Answered rows.", places.ROWS, 1),
        ("nv_inference_exec_count", "counter", "Runs.", places.RUNS, 1),
        ("nv_inference_pending_request_count", "gauge", "Requests that wait.", places.QUEUED, 1),
        ("nv_inference_queue_duration_us", "counter", "Microseconds of waiting.", places.WAIT_SECONDS, 1e6),
        ("nv_inference_compute_infer_duration_us", "counter", "Of runs.", places.REQUEST_RUN_SECONDS, 1e6),
    ):
        text.add(name, kind, about, [(labels, factor * numbers[place]) for labels, numbers in labelled])
    whole = [
        (labels, 1e6 * (numbers[places.WAIT_SECONDS] + numbers[places.REQUEST_RUN_SECONDS]))
        for labels, numbers in labelled
    ]
    text.add("nv_inference_request_duration_us", "counter", "Microseconds of requests.", whole)


def _values(models: list[tuple[tuple[str, str], Total]], place: int) -> list[tuple[_Labels, float]]:
    return [({"model": name[0], "version": name[1]}, total.counts[place]) for name, total in models]


def _histogram(
    labels: _Labels, numbers: list[float], first: int, bounds: tuple[float, ...], sums: tuple[int, ...]
) -> _Samples:
    cumulative = list(accumulate(numbers[first : first + len(bounds) + 1]))
    edges = [*map(_number, bounds), "+Inf"]
    samples: _Samples = [
        ("_bucket", {**labels, "le": edge}, value) for edge, value in zip(edges, cumulative, strict=True)
    ]
    total = sum(numbers[place] for place in sums)
    return [*samples, ("_sum", labels, total), ("_count", labels, cumulative[-1])]


def _labels(labels: _Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
