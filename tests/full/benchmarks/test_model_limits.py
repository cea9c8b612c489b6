"""The model's own limit: the same batches in a bare loop."""

import numpy as np
import pytest

from benchmarks.errors import ModelLoopFailed
from benchmarks.model_loop import Batch, measure, write_batches
from benchmarks.requests import BenchmarkRequest


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


@pytest.mark.parametrize(("mistake", "worst"), [(0.01, "0.01"), (np.nan, "nan")])
def test_wrong_answer_is_not_a_limit_even_if_it_is_the_last(batches, mistake, worst):
    def err_in_long_rows(input, lengths):
        return run(input, lengths) + np.where(lengths == 5, mistake, 0.0)[:, None]

    with pytest.raises(ModelLoopFailed, match=f"logits differ by {worst} from the expected ones"):
        measure([run, err_in_long_rows], batches, 0.01)
