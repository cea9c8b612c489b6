"""The model's own limit: the same batches in a bare loop."""

import time

import numpy as np
import pytest

from benchmarks.errors import ModelLoopFailed
from benchmarks.model_limits import graphs_of, running_model_loop, write_batches
from benchmarks.peers.model_loop import Batch, measure, split
from benchmarks.requests import BenchmarkRequest, group_into_batches


def request(length, rows=1):
    """A request of ones, whose logits are their sums."""
    return BenchmarkRequest(np.ones((rows, length, 2), np.float32), np.full((rows, 2), float(length), np.float32))


def run(input, lengths):
    """A model whose logits are the sums over the steps."""
    return input.sum(axis=1)


@pytest.fixture
def batches(tmp_path):
    path = write_batches(tmp_path / "batches.npz", [[request(3), request(1, rows=2)], [request(2), request(5)]])
    with np.load(path) as arrays:
        return [Batch(*(arrays[f"{at}/{name}"] for name in ("input", "lengths", "logits"))) for at in (0, 1)]


def test_batches_are_padded_with_zeros(batches):
    assert [batch.input.shape for batch in batches] == [(3, 3, 2), (2, 5, 2)]
    assert batches[0].lengths.tolist() == [3, 1, 1]
    assert batches[0].input.sum(axis=1).tolist() == [[3, 3], [1, 1], [1, 1]]


def test_parts_are_as_long_as_their_longest_row(batches):
    short, long = split(batches[0], 2)
    assert (short.input.shape, long.input.shape) == ((2, 1, 2), (1, 3, 2))
    assert long.logits.tolist() == [[3, 3]]


def test_rows_and_times_of_batches_are_measured(batches):
    measured = measure([run], batches, 0.05)
    rows, p50, p99 = (float(measured[name]) for name in ("rows/s", "p50 ms", "p99 ms"))
    assert rows > 0
    assert 0 < p50 <= p99


def test_the_faster_run_is_measured(batches):
    calls = []

    def slow(input, lengths):
        calls.append(len(lengths))
        time.sleep(0.01)
        return run(input, lengths)

    measure([slow, run], batches, 0.1)
    assert len(calls) < 10  # the check and the trials


@pytest.mark.parametrize(("mistake", "worst"), [(0.01, "0.01"), (np.nan, "nan")])
def test_a_wrong_answer_is_no_limit_even_if_it_is_the_last(batches, mistake, worst):
    def err_in_long_rows(input, lengths):
        return run(input, lengths) + np.where(lengths == 5, mistake, 0.0)[:, None]

    assert measure([run, err_in_long_rows], batches, 0.01) == {
        "error": f"logits differ by {worst} from the expected ones"
    }


def test_every_request_is_in_as_many_batches_as_any_other():
    requests = [request(length) for length in range(1, 7)]
    batches = group_into_batches(requests, 4)
    assert [len(batch) for batch in batches] == [4, 4, 4]
    lengths = sorted(each.input.shape[1] for batch in batches for each in batch)
    assert lengths == sorted([*range(1, 7)] * 2)
    assert group_into_batches(requests[:1], 64) == [[requests[0]] * 64]


def test_both_graphs_of_a_version_are_tried(tmp_path):
    (tmp_path / "model.onnx").touch()
    assert graphs_of(tmp_path) == {"graphs": [str(tmp_path / "model.onnx")]}
    (tmp_path / "model.scan.onnx").touch()
    assert len(graphs_of(tmp_path)["graphs"]) == 2


def test_a_loop_that_ends_says_why_in_its_last_line(tmp_path):
    path = write_batches(tmp_path / "batches.npz", [[request(3)]])
    with (
        running_model_loop(tmp_path / "log") as loop,
        pytest.raises(ModelLoopFailed, match=r"did not answer: .*no\.onnx"),
    ):
        loop.measure({"graphs": [str(tmp_path / "no.onnx")]}, path, 0.1)
