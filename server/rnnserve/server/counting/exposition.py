"""The text that Prometheus reads: format 0.0.4, written here, since all of it is made of one table of numbers.

Counters are of all processes that there have been, gauges of those that live. Histograms have seconds, or rows.
"""

from collections.abc import Mapping, Sequence
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

_Samples = list[tuple[str, float]]
"""What follows a family's name, and the value."""


def exposition(
    totals: Mapping[tuple[str, str], Total], restarts: Mapping[str, int], version: str, *, has_triton_names: bool = True
) -> bytes:
    """Write all metrics.

    Args:
        totals: Totals by model and version; the process's are those of ("", "").
        restarts: Number of workers that were replaced, by reason.
        version: Version of the server.
        has_triton_names: Whether to write the same numbers under Triton's names, `nv_inference_…`, too.
    """
    models = [_Numbers(model, version, total) for (model, version), total in sorted(totals.items()) if model]
    text = _Text()
    _add_requests(text, models)
    serving = [model for model in models if not model.is_other]
    _add_models(text, serving)
    _add_process(text, totals.get(("", ""), Total()).counts, restarts, version)
    if has_triton_names:
        _add_triton(text, serving)
    return text.encoded()


class _Numbers:
    """What there is of a version.

    Attributes:
        labels: Its labels, without braces.
        about: Further labels that describe it; empty where none are known.
        counts: Its numbers (places).
        is_other: Whether it is what has no model.
    """

    __slots__ = ("about", "counts", "is_other", "labels")

    def __init__(self, model: str, version: str, total: Total) -> None:
        self.is_other = model == OTHER
        self.labels = _labels({"model": model, "version": version})
        self.about = _labels(total.about)
        self.counts = total.counts

    @property
    def succeeded(self) -> float:
        """Requests whose answers were sent."""
        return self.counts[places.ANSWERED] - self.counts[places.REFUSED_AFTER_RUN]

    def refusals(self) -> list[tuple[str, str, float]]:
        """Status, reason and count of all refusals.

        Also where there is none: Prometheus sees no increase in a series that begins with 1.
        """
        numbers = self.counts[places.REFUSED : places.PLACES]
        return [(code, reason, number) for (code, reason), number in zip(places.REFUSALS, numbers, strict=True)]


class _Text:
    """Families, written one after another."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, about: str, samples: _Samples) -> None:
        """Write a family."""
        if samples:
            self._lines += [f"# HELP {name} {about}\n", f"# TYPE {name} {kind}\n"]
            self._lines += [f"{name}{labels} {_number(value)}\n" for labels, value in samples]

    def encoded(self) -> bytes:
        """The whole text."""
        return "".join(self._lines).encode()


def _add_requests(text: _Text, models: Sequence[_Numbers]) -> None:
    requests: _Samples = []
    refusals: _Samples = []
    for model in models:
        by_code = {} if model.is_other else {"OK": model.succeeded}
        for code, reason, number in model.refusals():
            by_code[code] = by_code.get(code, 0.0) + number
            refusals.append((f'{{{model.labels},code="{code}",reason="{reason}"}}', number))
        requests += [(f'{{{model.labels},code="{code}"}}', number) for code, number in by_code.items()]
    text.add("rnnserve_requests_total", "counter", "Inference requests that were answered, by status.", requests)
    text.add("rnnserve_refusals_total", "counter", "Those that were refused, by status and reason.", refusals)


def _add_models(text: _Text, models: Sequence[_Numbers]) -> None:
    for name, about, first, bounds, sums in _HISTOGRAMS:
        edges = [f',le="{edge}"}}' for edge in (*map(_number, bounds), "+Inf")]
        samples: _Samples = []
        for model in models:
            cumulative = list(accumulate(model.counts[first : first + len(edges)]))
            start = f"_bucket{{{model.labels}"
            samples += [(start + edge, number) for edge, number in zip(edges, cumulative, strict=True)]
            samples.append((f"_sum{{{model.labels}}}", sum([model.counts[place] for place in sums])))
            samples.append((f"_count{{{model.labels}}}", cumulative[-1]))
        text.add(name, "histogram", about, samples)
    for name, kind, about, place in (
        ("rnnserve_steps_total", "counter", "Steps of the rows of all runs, without padding.", places.STEPS),
        ("rnnserve_padded_steps_total", "counter", "Steps of padding of all runs.", places.PADDED_STEPS),
        ("rnnserve_requests_queued", "gauge", "Requests that wait for their run.", places.QUEUED),
    ):
        text.add(name, kind, about, [(f"{{{model.labels}}}", model.counts[place]) for model in models])
    ready = [(f"{{{model.labels}}}", float(model.counts[places.READY] > 0)) for model in models]
    text.add("rnnserve_model_ready", "gauge", "Whether a process serves this version.", ready)
    info = [(f"{{{model.labels},{model.about}}}", 1.0) for model in models if model.about]
    text.add("rnnserve_model_info", "gauge", "What serves, and how.", info)


def _add_process(text: _Text, process: Sequence[float], restarts: Mapping[str, int], version: str) -> None:
    held, sequences = process[places.HELD_BYTES], process[places.SEQUENCES]
    text.add("rnnserve_held_bytes", "gauge", "Bytes that requests and responses in hand hold.", [("", held)])
    text.add("rnnserve_sequences_live", "gauge", "Sequences whose states are kept.", [("", sequences)])
    evicted = [('{reason="idle"}', process[places.EVICTED])]
    text.add("rnnserve_sequence_evictions_total", "counter", "Sequences that were dropped.", evicted)
    loads = [
        ('{outcome="ready"}', process[places.LOADED]),
        ('{outcome="refused"}', process[places.NOT_LOADED]),
    ]
    text.add("rnnserve_model_loads_total", "counter", "Versions that were tried, in each process.", loads)
    replaced = [(f'{{reason="{reason}"}}', float(restarts.get(reason, 0))) for reason in ("died", "hung", "stopped")]
    text.add("rnnserve_worker_restarts_total", "counter", "Workers that were replaced.", replaced)
    text.add("rnnserve_build_info", "gauge", "The server.", [(f"{{{_labels({'version': version})}}}", 1.0)])


def _add_triton(text: _Text, models: Sequence[_Numbers]) -> None:
    """The same numbers under Triton's names: durations in microseconds."""
    success = [(f"{{{model.labels}}}", model.succeeded) for model in models]
    text.add("nv_inference_request_success", "counter", "Answered requests.", success)
    failures: _Samples = []
    for model in models:
        by_reason = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0.0)
        for code, _, number in model.refusals():
            by_reason[_TRITON_REASONS.get(code, "OTHER")] += number
        failures += [(f'{{{model.labels},reason="{reason}"}}', number) for reason, number in by_reason.items()]
    text.add("nv_inference_request_failure", "counter", "Refused requests.", failures)
    for name, kind, about, factor, sums in (
        ("nv_inference_count", "counter", "Answered rows.", 1, (places.ROWS,)),
        ("nv_inference_exec_count", "counter", "Runs.", 1, (places.RUNS,)),
        ("nv_inference_pending_request_count", "gauge", "Requests that wait.", 1, (places.QUEUED,)),
        ("nv_inference_queue_duration_us", "counter", "Of waiting.", 1e6, (places.WAIT_SECONDS,)),
        ("nv_inference_compute_infer_duration_us", "counter", "Of runs.", 1e6, (places.REQUEST_RUN_SECONDS,)),
        (
            "nv_inference_request_duration_us",
            "counter",
            "Of waiting and runs.",
            1e6,
            (places.WAIT_SECONDS, places.REQUEST_RUN_SECONDS),
        ),
    ):
        numbers = [(f"{{{model.labels}}}", factor * sum([model.counts[place] for place in sums])) for model in models]
        text.add(name, kind, about, numbers)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join([f'{key}="{_escaped(value)}"' for key, value in labels.items()])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
