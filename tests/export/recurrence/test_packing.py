"""Packing functions of a capture, called on plain tensors: what they keep, and what they refuse."""

import pytest
import torch
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.packing import pack_padded_sequence, pad_packed_sequence
from rnnserve.export.recurrence.padded_sequence import PackedOrder, PaddedSequence, packed_fields

STEPS = torch.arange(1.0, 25.0).reshape(3, 4, 2)  # (batch, sequence, features)
LENGTHS = torch.tensor([2, 3, 1])


def packed(**options):
    return pack_padded_sequence(STEPS, LENGTHS, batch_first=True, enforce_sorted=False, **options)


ORDERS = ("batch_sizes", "sorted_indices", "unsorted_indices")

READ = {
    r"\[0\]": lambda order: order[0],
    r"\.max": lambda order: order.max(),
    r"\.device": lambda order: order.device,
    "each of it": list,
    "its length": len,
    "whether it is true": bool,
    "whether it equals something": lambda order: order == torch.ones(3),
    "in index_select": lambda order: torch.zeros(3).index_select(0, order),
    "in cat": lambda order: torch.cat([torch.zeros(3), order]),
    "in add": lambda order: torch.ones(3) + order,
}


@pytest.mark.parametrize("field", ORDERS)
@pytest.mark.parametrize("what", READ)
def test_the_order_of_a_packed_sequence_cannot_be_read(field, what):
    with pytest.raises(
        UnsupportedModule, match=rf"^the module reads `{field}` of a PackedSequence, {what}\..*padded tensor"
    ):
        READ[what](getattr(packed(), field))


@pytest.mark.parametrize("name", [*ORDERS, "data"])
def test_fields_by_name_and_by_place(name):
    sequence = packed()
    by_place = dict(zip(sequence._fields, sequence, strict=True))
    kind = torch.Tensor if name == "data" else PackedOrder
    assert isinstance(getattr(sequence, name), kind)
    assert isinstance(by_place[name], kind)
    assert isinstance(sequence[sequence._fields.index(name)], kind)


def test_values_are_those_of_all_steps():
    assert torch.equal(packed().data, STEPS.transpose(0, 1).flatten(0, 1))


def test_ids_of_the_padding_are_zero():
    steps = torch.arange(1, 7).reshape(3, 2)
    sequence = pack_padded_sequence(steps, torch.tensor([1, 2, 1]), batch_first=True, enforce_sorted=False)
    assert torch.equal(sequence.data, torch.tensor([1, 3, 5, 0, 4, 0]))


def test_sequences_that_are_said_to_be_sorted_have_no_indices():
    sequence = pack_padded_sequence(STEPS, LENGTHS, batch_first=True)
    assert sequence.sorted_indices is None
    assert sequence.unsorted_indices is None


REBUILT = {
    "with indices": lambda p, data: PackedSequence._make(
        packed_fields(data, p.batch_sizes, p.sorted_indices, p.unsorted_indices)
    ),
    "without unsorted": lambda p, data: PackedSequence._make(packed_fields(data, p.batch_sizes, p.sorted_indices)),
    "a pair": lambda p, data: PackedSequence._make(packed_fields((data, p.batch_sizes), None, p.sorted_indices)),
    "replaced": lambda p, data: p._replace(data=data),
    "replaced twice": lambda p, data: p._replace(data=data + 1)._replace(data=data),
    "moved": lambda p, data: PackedSequence._make(
        (data, p.batch_sizes.to("cpu"), p.sorted_indices.to("cpu"), p.unsorted_indices)
    ),
}


@pytest.mark.parametrize("way", REBUILT)
def test_a_sequence_of_other_values_is_padded(way):
    rebuilt = REBUILT[way](packed(), packed().data * 2)
    plain = rnn.pack_padded_sequence(STEPS, LENGTHS, batch_first=True, enforce_sorted=False)
    found = pad_packed_sequence(rebuilt, batch_first=True)
    expected = rnn.pad_packed_sequence(plain._replace(data=plain.data * 2), batch_first=True)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


LOST = {
    "both": lambda p: (p.data, p.batch_sizes, None, None),
    "unsorted": lambda p: (p.data, p.batch_sizes, p.sorted_indices, None),
    "sorted": lambda p: (p.data, p.batch_sizes, None, p.unsorted_indices),
    "exchanged": lambda p: (p.data, p.batch_sizes, p.unsorted_indices, p.sorted_indices),
    "tensors": lambda p: (p.data, p.batch_sizes, torch.arange(3), torch.arange(3)),
    "of another": lambda p: (p.data, p.batch_sizes, *pack_padded_sequence(STEPS, LENGTHS + 1, True, False)[2:]),
    "not the sizes": lambda p: (p.data, p.sorted_indices, p.sorted_indices, p.unsorted_indices),
}


@pytest.mark.parametrize("way", LOST)
def test_indices_that_are_lost(way):
    rebuilt = PackedSequence._make(LOST[way](packed()))
    with pytest.raises(UnsupportedModule, match=r"without the sorted_indices and unsorted_indices that belong.*Pass"):
        PaddedSequence.of(rebuilt)


def test_indices_are_not_lost_where_there_are_none():
    sequence = pack_padded_sequence(STEPS, LENGTHS, batch_first=True)
    rebuilt = PaddedSequence.of(PackedSequence._make(packed_fields(sequence.data, sequence.batch_sizes)))
    assert rebuilt is not None
    assert rebuilt.is_sorted
    assert torch.equal(rebuilt.steps, STEPS.transpose(0, 1))


def test_other_batch_sizes():
    rebuilt = PackedSequence._make(packed_fields(packed().data, torch.tensor([3, 2, 1])))
    with pytest.raises(UnsupportedModule, match=r"^pad_packed_sequence got a PackedSequence that was not made by"):
        pad_packed_sequence(rebuilt)


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
