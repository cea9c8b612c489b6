"""Packing functions of a capture, called on plain tensors: what they keep, and what they refuse."""

import pytest
import torch
from torch.nn.utils import rnn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.packing import PaddedSequence, pack_padded_sequence, pad_packed_sequence

STEPS = torch.arange(1.0, 25.0).reshape(3, 4, 2)  # (batch, sequence, features)
LENGTHS = torch.tensor([2, 3, 1])


def packed(**options):
    return pack_padded_sequence(STEPS, LENGTHS, batch_first=True, enforce_sorted=False, **options)


@pytest.mark.parametrize("field", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])
def test_each_field_is_refused_by_its_name(field):
    with pytest.raises(UnsupportedModule, match=rf"^the module reads `{field}` of a PackedSequence\. "):
        getattr(packed(), field)


@pytest.mark.parametrize(
    ("read", "name"),
    [(lambda p: p[0], "[0]"), (list, "fields"), (lambda p: p._replace(data=1, batch_sizes=2), "data, batch_sizes")],
)
def test_a_tuple_of_fields_is_refused(read, name):
    with pytest.raises(UnsupportedModule) as refused:
        read(packed())
    assert str(refused.value).startswith(f"the module reads `{name}` of a PackedSequence. ")


def test_rows_keep_their_order_and_lengths_are_int64():
    kept = pack_padded_sequence(STEPS, LENGTHS.int(), batch_first=True, enforce_sorted=False)
    assert torch.equal(kept.steps, STEPS.transpose(0, 1))
    assert torch.equal(kept.row_lengths, LENGTHS)
    assert kept.row_lengths.dtype == torch.int64
    assert not kept.zero_padded
    assert torch.equal(pack_padded_sequence(STEPS, torch.tensor([2, 3, 1, 1])).steps, STEPS)


def test_conversions_keep_lengths_and_padding():
    kept = PaddedSequence(STEPS, LENGTHS, zero_padded=True)
    for other in (kept.to(torch.float64), kept.double(), kept.cpu()):
        assert isinstance(other, PaddedSequence)
        assert other.zero_padded
        assert other.row_lengths is LENGTHS
    assert kept.to(torch.float64).steps.dtype == torch.float64
    assert not kept.is_cuda


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("padding_value", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("total_length", [None, 3, 4, 7])
@pytest.mark.parametrize("trailing", [(), (2,), (2, 5)])
def test_padding_is_that_of_eager(batch_first, padding_value, total_length, trailing):
    steps = torch.randn(3, 4, *trailing)
    eager = rnn.pad_packed_sequence(
        rnn.pack_padded_sequence(steps, LENGTHS, batch_first=True, enforce_sorted=False),
        batch_first,
        padding_value,
        total_length,
    )
    zeros = torch.arange(4).reshape(1, 4) < LENGTHS[:, None]
    zeroed = (steps * zeros.reshape(3, 4, *[1] * len(trailing))).transpose(0, 1)
    for given in (
        pack_padded_sequence(steps, LENGTHS, batch_first=True),
        PaddedSequence(zeroed, LENGTHS, zero_padded=True),
    ):
        found = pad_packed_sequence(given, batch_first, padding_value, total_length)
        assert torch.equal(found[0], eager[0])
        assert torch.equal(found[1], eager[1])


def test_a_sequence_packed_outside_is_refused():
    outside = rnn.pack_padded_sequence(STEPS, LENGTHS, batch_first=True, enforce_sorted=False)
    with pytest.raises(UnsupportedModule, match=r"^pad_packed_sequence got a PackedSequence that was not made by"):
        pad_packed_sequence(outside)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), LENGTHS), "pack_padded_sequence got an input of 1 axes; expected (batch, sequence, ...) or,"),
        ((STEPS, LENGTHS[:, None], True), "pack_padded_sequence got lengths of shape (3, 1); expected (batch,), one"),
        ((STEPS, LENGTHS.double(), True), "pack_padded_sequence got lengths of dtype torch.float64; expected int64"),
        (
            (STEPS, LENGTHS.to(torch.complex64), True),
            "pack_padded_sequence got lengths of dtype torch.complex64; expected int64",
        ),
        (
            (STEPS, LENGTHS),
            "pack_padded_sequence got 3 lengths for a batch of 4 rows; expected lengths (batch,) and an input "
            "(sequence, batch, ...). Is batch_first as it should be?",
        ),
        (
            (STEPS, LENGTHS[:2], True),
            "pack_padded_sequence got 2 lengths for a batch of 3 rows; expected lengths (batch,) and an input "
            "(batch, sequence, ...). Is batch_first as it should be?",
        ),
        ((STEPS, [2.5, 1, 1], True), "pack_padded_sequence got its lengths as a list, not as a tensor. They would be"),
    ],
)
def test_lengths_that_do_not_fit(arguments, message):
    with pytest.raises(UnsupportedModule) as refused:
        pack_padded_sequence(*arguments)
    assert str(refused.value).startswith(message)


def test_a_list_of_lengths_is_a_constant():
    assert torch.equal(pack_padded_sequence(STEPS, [2, 3, 1], True).row_lengths, LENGTHS)
