"""A version's counts as the protocol describes them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places

__all__ = ["add_statistics", "statistics_message", "statistics_of_ended"]

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


def statistics_of_ended(totals: Mapping[tuple[str, str], Sequence[float]]) -> pb.ModelStatisticsResponse:
    """Describe what processes have done that have ended, without the sizes of their runs.

    Args:
        totals: Numbers of theirs (`counting.places`), by model and version.
    """
    return pb.ModelStatisticsResponse(
        model_stats=[_described(name, version, numbers) for (name, version), numbers in totals.items()]
    )


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


def add_statistics(total: pb.ModelStatisticsResponse, others: Iterable[pb.ModelStatisticsResponse]) -> None:
    """Add what others have counted of the versions that `total` tells of."""
    models = {(model.name, model.version): model for model in total.model_stats}
    for other in others:
        for model in other.model_stats:
            sum_ = models.get((model.name, model.version))
            if sum_ is not None:
                _add(sum_, model)


def _add(total: pb.ModelStatistics, other: pb.ModelStatistics) -> None:
    total.last_inference = max(total.last_inference, other.last_inference)
    total.inference_count += other.inference_count
    total.execution_count += other.execution_count
    _add_durations(total.inference_stats, other.inference_stats)
    sizes = {batch.batch_size: batch for batch in total.batch_stats}
    for batch in other.batch_stats:
        if batch.batch_size in sizes:
            _add_durations(sizes[batch.batch_size], batch)
        else:
            sizes[batch.batch_size] = batch
    in_order = pb.ModelStatistics(batch_stats=[sizes[size] for size in sorted(sizes)])
    total.ClearField("batch_stats")
    total.batch_stats.MergeFrom(in_order.batch_stats)
    _add_counts(total, other)


def _add_counts(total: pb.ModelStatistics, other: pb.ModelStatistics) -> None:
    """Add the refusals by reason, and the buckets of durations, each of which may be of one of the two alone."""
    refusals = {(each.status, each.reason): each for each in total.refusals}
    for refusal in other.refusals:
        known = refusals.get((refusal.status, refusal.reason))
        if known is None:
            total.refusals.append(refusal)
        else:
            known.count += refusal.count
    buckets: Counter[tuple[float, float]] = Counter()
    for bucket in (*total.duration_buckets, *other.duration_buckets):
        buckets[bucket.lower_bound, bucket.upper_bound] += bucket.count
    total.ClearField("duration_buckets")
    for lower, upper in sorted(buckets):
        total.duration_buckets.add(lower_bound=lower, upper_bound=upper, count=buckets[lower, upper])


def _add_durations(total: Message, other: Message) -> None:
    for field, duration in other.ListFields():
        if isinstance(duration, pb.StatisticDuration):
            sum_ = getattr(total, field.name)
            sum_.count += duration.count
            sum_.ns += duration.ns


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
