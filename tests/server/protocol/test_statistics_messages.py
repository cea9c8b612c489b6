"""Counts in the protocol's words and units: nanoseconds, milliseconds since the epoch."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import InvalidRequest, QueueFull
from rnnserve.server.protocol.statistics_messages import add_statistics, statistics_message, statistics_of_ended


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


def test_what_others_have_counted_is_added():
    told = [
        counted(requests=n, run_seconds=0.5, wait_seconds=0.25, last=10.0 - n, failed_seconds=0.5,
                sizes={n: (n, 0.125), 6: (1, 0.5)}, refusals=[(QueueFull("m", 1), False)])
        for n in (2, 3)
    ]  # fmt: skip
    total, other = (pb.ModelStatisticsResponse(model_stats=[statistics_message("m", "1", one)]) for one in told)
    other.model_stats.append(statistics_message("m", "2", told[0]))  # one that the first does not tell of
    other.model_stats[0].refusals.add(status="INTERNAL", reason="internal_error", count=4)
    other.model_stats[0].duration_buckets.add(upper_bound=50e-6, count=5)
    add_statistics(total, [other, pb.ModelStatisticsResponse()])
    (said,) = total.model_stats
    assert (said.last_inference, said.inference_count, said.execution_count) == (8000, 10 + 15, 3 + 4)
    assert (said.inference_stats.success.count, said.inference_stats.success.ns) == (5, 1_500_000_000)
    assert (said.inference_stats.fail.count, said.inference_stats.fail.ns) == (2, 1_000_000_000)
    assert [
        (b.batch_size, b.compute_infer.count, b.compute_infer.ns, b.compute_input.count) for b in said.batch_stats
    ] == [
        (2, 2, 125_000_000, 2),
        (3, 3, 125_000_000, 3),
        (6, 2, 1_000_000_000, 2),
    ]
    assert {each.reason: each.count for each in said.refusals} == {"queue_full": 2, "internal_error": 4}
    buckets = [(each.lower_bound, each.upper_bound, each.count) for each in said.duration_buckets]
    assert buckets == [(0.0, 50e-6, 5), (100e-6, 200e-6, 5)]


def test_of_processes_that_have_ended_all_is_told_but_the_sizes_of_runs():
    statistics = counted(
        requests=7, run_seconds=0.5, wait_seconds=0.25, last=0.0, failed_seconds=0.75, sizes={6: (1, 0.125)},
        refusals=[(QueueFull("m", 1), True)],
    )  # fmt: skip
    (ended,) = statistics_of_ended({("m", "3"): statistics.counts.tolist()}).model_stats
    living = statistics_message("m", "3", statistics)
    living.ClearField("batch_stats")
    assert ended == living
