"""perf_analyzer's report, and its processes."""

import pytest

from benchmarks.errors import LoadGeneratorFailed
from benchmarks.load_generators.perf_analyzer import parse_report

HEAD = "Concurrency,Inferences/Second,Client Send,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"


def test_its_figures_are_read_as_milliseconds():
    report = HEAD + "32,2400.29,3,1,11872,21185,25132,40357\n"
    assert parse_report(report) == {"inferences/s": 2400.29, "p50 ms": 11.872, "p99 ms": 40.357}


@pytest.mark.parametrize("report", ["", HEAD, HEAD + "1,2,3,4,5,6,7,8\n" * 2])
def test_one_measurement_is_expected(report):
    with pytest.raises(LoadGeneratorFailed, match="expected one"):
        parse_report(report)
