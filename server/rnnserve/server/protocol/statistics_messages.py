"""A version's counts as the protocol describes them."""

from collections.abc import Sequence

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places

__all__ = ["statistics_message"]

_BOUNDS = tuple(zip((0.0, *places.SECONDS_BOUNDS), (*places.SECONDS_BOUNDS, 0.0), strict=True))


def statistics_message(name: str, version: str, statistics: Statistics) -> pb.ModelStatistics:
    """Describe what a model has done in this process, as Triton's statistics extension does."""
    described = _described(name, version, statistics.since_loaded())
    described.last_inference = int(statistics.last * 1000)  # milliseconds since the epoch
    for rows, (count, seconds) in sorted(statistics.sizes.copy().items()):
        described.batch_stats.add(
            batch_size=rows,
            compute_input=pb.StatisticDuration(count=count),
            compute_infer=pb.StatisticDuration(count=count, ns=_nanoseconds(seconds)),
            compute_output=pb.StatisticDuration(count=count),
        )
    return described


def _described(name: str, version: str, numbers: Sequence[float]) -> pb.ModelStatistics:
    """Describe numbers (`counting.places`).

    In `inference_stats` the whole time of a run counts for each request in it, in `batch_stats` once. `compute_infer`
    is the whole of a run here, joining and splitting included. `compute_input` and `compute_output` have the same count
    and no time of their own: perf_analyzer ends with an error where the three counts differ.
    """
    requests = round(numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN])
    run_ns, wait_ns = _nanoseconds(numbers[places.REQUEST_RUN_SECONDS]), _nanoseconds(numbers[places.WAIT_SECONDS])
    refusals = places.refusals(numbers)
    buckets = numbers[places.ANSWER_BUCKETS : places.WAIT_BUCKETS]
    return pb.ModelStatistics(
        name=name,
        version=version,
        inference_count=round(numbers[places.ROWS]),
        execution_count=round(places.runs(numbers)),
        inference_stats=pb.InferStatistics(
            success=pb.StatisticDuration(count=requests, ns=wait_ns + run_ns),
            fail=pb.StatisticDuration(count=round(sum(refusals)), ns=_nanoseconds(numbers[places.FAILED_SECONDS])),
            queue=pb.StatisticDuration(count=requests, ns=wait_ns),
            compute_input=pb.StatisticDuration(count=requests),
            compute_infer=pb.StatisticDuration(count=requests, ns=run_ns),
            compute_output=pb.StatisticDuration(count=requests),
        ),
        refusals=[
            pb.RefusalStatistics(status=status, reason=reason, count=round(number))
            for (status, reason), number in zip(places.REFUSALS, refusals, strict=True)
            if number
        ],
        duration_buckets=[
            pb.DurationBucket(lower_bound=lower, upper_bound=upper, count=round(number))
            for (lower, upper), number in zip(_BOUNDS, buckets, strict=True)
            if number
        ],
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
