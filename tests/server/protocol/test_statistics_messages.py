"""Counts in the protocol's words and units: nanoseconds, milliseconds since the epoch."""

from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import InvalidRequest, QueueFull
from rnnserve.server.protocol.statistics_messages import statistics_message


def counted(*, requests, run_seconds, wait_seconds, failed_seconds, last, sizes, refusals=()):
    """Counts of a model that has done so much."""
    statistics = Statistics()
    counts = statistics.counts
    counts[places.ANSWERED] = counts[places.ANSWER_BUCKETS + 2] = requests
    counts[places.REQUEST_RUN_SECONDS], counts[places.WAIT_SECONDS] = run_seconds, wait_seconds
    counts[places.FAILED_SECONDS] = failed_seconds
    counts[places.ROWS] = sum(rows * number for rows, (number, _) in sizes.items())
    counts[places.RUN_BUCKETS] = sum(number for number, _ in sizes.values())
    statistics.sizes.update(sizes)
    statistics.last = last
    for error, is_http in refusals:
        count_refusal(error.of(counts), is_http=is_http)
    return statistics


def test_every_count_has_its_field_and_unit():
    statistics = counted(
        requests=7, run_seconds=0.5, wait_seconds=0.25, last=1234.5678, failed_seconds=0.75,
        sizes={6: (1, 0.125), 1: (3, 0.375)},
        refusals=[(QueueFull("m", 1), False), (QueueFull("m", 1), True), (InvalidRequest("m"), False)],
    )  # fmt: skip
    said = statistics_message("m", "3", statistics)
    assert (said.name, said.version, said.last_inference) == ("m", "3", 1234567)
    assert (said.inference_count, said.execution_count) == (9, 4)
    assert (said.inference_stats.success.count, said.inference_stats.success.ns) == (7, 750_000_000)
    assert (said.inference_stats.fail.count, said.inference_stats.fail.ns) == (3, 750_000_000)
    assert (said.inference_stats.queue.count, said.inference_stats.queue.ns) == (7, 250_000_000)
    assert (said.inference_stats.compute_infer.count, said.inference_stats.compute_infer.ns) == (7, 500_000_000)
    assert (said.inference_stats.compute_input.count, said.inference_stats.compute_output.count) == (7, 7)
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in said.batch_stats] == [
        (1, 3, 375_000_000),
        (6, 1, 125_000_000),
    ]
    assert [(b.compute_input.count, b.compute_output.count) for b in said.batch_stats] == [(3, 3), (1, 1)]
    assert [(each.status, each.reason, each.count) for each in said.refusals] == [
        ("INVALID_ARGUMENT", "invalid_request", 1),
        ("RESOURCE_EXHAUSTED", "queue_full", 2),
    ]
    assert [(each.lower_bound, each.upper_bound, each.count) for each in said.duration_buckets] == [(100e-6, 200e-6, 7)]
