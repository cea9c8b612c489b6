import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.models import DataError, SequenceDataset, data_loader, generate_walks, pad


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20), features=st.integers(1, 5))
def test_padding_keeps_every_point_and_adds_zeros(lengths, features):
    points = [np.random.default_rng(length).standard_normal((length, features)) for length in lengths]
    input, found = pad(points)
    assert input.dtype == np.float32
    assert found.dtype == np.int64
    assert input.shape == (len(lengths), max(lengths), features)
    assert found.tolist() == lengths
    for row, sequence in zip(input, points, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence.astype(np.float32))
        assert not row[len(sequence) :].any()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "no sequences"),
        ([[[1, 2]], [1, 2]], r"sequence 1 has shape \(2,\); expected \(length, features\)"),
        ([np.zeros((0, 2))], r"sequence 0 has shape \(0, 2\); expected at least 1 point"),
        ([np.zeros((3, 2)), np.zeros((3, 4))], r"sequence 1 has shape \(3, 4\); expected .* with 2 features"),
    ],
)
def test_sequences_that_cannot_be_padded_are_refused(points, message):
    with pytest.raises(DataError, match=message):
        pad(points)


def test_batches_contain_every_sequence_once():
    points, directions = generate_walks(50, seed=1)
    batches = list(data_loader(SequenceDataset(points, directions), batch_size=16))
    assert [len(batch.lengths) for batch in batches] == [16, 16, 16, 2]
    row = 0
    for batch in batches:
        assert batch.input.dtype == torch.float32
        assert batch.input.shape[1] == batch.lengths.max()
        for input, length, direction in zip(*batch, strict=True):
            np.testing.assert_array_equal(input[:length], points[row])
            assert direction == directions[row]
            row += 1
    assert row == 50


def test_every_sequence_needs_a_direction():
    with pytest.raises(DataError, match="got 3 sequences but 2 directions"):
        SequenceDataset(generate_walks(3, seed=0)[0], np.array([0, 1]))
