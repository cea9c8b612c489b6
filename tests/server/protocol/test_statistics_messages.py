"""Counts in the protocol's words and units: nanoseconds, milliseconds since the epoch."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.protocol.statistics_messages import add_statistics, statistics_message


def test_every_count_has_its_field_and_unit():
    statistics = Statistics(
        requests=7, failures=2, dropped=3, run_seconds=0.5, wait_seconds=0.25, last=1234.5678,
        failed_seconds=0.75, sizes={6: (1, 0.125), 1: (3, 0.375)},
    )  # fmt: skip
    said = statistics_message("m", "3", statistics)
    assert (said.name, said.version, said.last_inference) == ("m", "3", 1234567)
    assert (said.inference_count, said.execution_count) == (9, 4)
    assert (said.inference_stats.success.count, said.inference_stats.success.ns) == (7, 750_000_000)
    assert (said.inference_stats.fail.count, said.inference_stats.fail.ns) == (5, 750_000_000)
    assert (said.inference_stats.queue.count, said.inference_stats.queue.ns) == (7, 250_000_000)
    assert (said.inference_stats.compute_infer.count, said.inference_stats.compute_infer.ns) == (7, 500_000_000)
    assert (said.inference_stats.compute_input.count, said.inference_stats.compute_output.count) == (7, 7)
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in said.batch_stats] == [
        (1, 3, 375_000_000),
        (6, 1, 125_000_000),
    ]
    assert [(b.compute_input.count, b.compute_output.count) for b in said.batch_stats] == [(3, 3), (1, 1)]


def test_what_others_have_counted_is_added():
    counted = [
        Statistics(requests=n, failures=1, run_seconds=0.5, wait_seconds=0.25, last=10.0 - n, failed_seconds=0.5,
                   sizes={n: (n, 0.125), 6: (1, 0.5)})
        for n in (2, 3)
    ]  # fmt: skip
    total, other = (pb.ModelStatisticsResponse(model_stats=[statistics_message("m", "1", one)]) for one in counted)
    other.model_stats.append(statistics_message("m", "2", counted[0]))  # one that the first does not tell of
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
