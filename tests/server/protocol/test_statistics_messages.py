"""Counts in the protocol's words and units: nanoseconds, milliseconds since the epoch."""

from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.protocol.statistics_messages import statistics_message


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
