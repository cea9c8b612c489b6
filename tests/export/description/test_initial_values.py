"""Initial values of states: one row, with values that the input accepts, equal to those that forward itself uses."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Flags, Floats, Integers, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.described_tensors import read_initial_values
from rnnserve.protos import manifest_pb2

ZEROS, RECORDED = manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (Floats(2, "batch", 3, initial=1), np.ones((2, 1, 3), np.float32)),
        (Floats("batch", 3, initial=-math.inf), np.full((1, 3), -np.inf, np.float32)),
        (Floats("batch", 3, dtype="float64", initial=[1, 2, 3]), np.array([[1.0, 2.0, 3.0]])),
        (Floats("batch", 2, initial=nn.Parameter(torch.tensor([3.0, 4.0]))), np.array([[3, 4]], np.float32)),
        (Floats("batch", 2, dtype="float16", initial=np.float64(0.1)), np.full((1, 2), 0.1, np.float16)),
        (Integers("batch", high=9, initial=8), np.array([8])),
        (Integers("batch", 2, high=9, low=-4, dtype="int32", initial=-4), np.array([[-4, -4]], np.int32)),
        (Flags("batch", 2, initial=[True, False]), np.array([[True, False]])),
        (Floats("batch", initial=0), np.zeros(1, np.float32)),
    ],
)
def test_initial_value_is_a_number_or_one_row(what, expected):
    found = read_initial_values({"s": what}, ["s"])["s"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("what", "states", "said"),
    [
        (Floats("batch", 3, initial=[1, 2]), "s", r"of shape \[2\]; expected \[1, 3\], \(batch, axis 1\): one row"),
        (Floats("batch", 3, initial=np.ones((2, 3))), "s", r"of shape \[2, 3\]; expected \[1, 3\]"),
        (Floats("batch", 3, initial=math.nan), "s", "NaN"),
        (Floats("batch", initial="zeros"), "s", "expected a number"),
        (Integers("batch", high=9, initial=9), "s", "expected values from 0 to below 9"),
        (Integers("batch", high=9, initial=0.5), "s", "has initial=0.5; expected int64"),
        (Integers("batch", high=9, initial=math.inf), "s", "has initial=inf; expected int64"),
        (Flags("batch", initial=2), "s", "has initial=2; expected bool"),
        (Floats("batch", initial=1), "other", r'"s".*is not a state'),
    ],
)
def test_invalid_initial_value_is_refused(what, states, said):
    with pytest.raises(WrongArguments, match=said):
        read_initial_values({"s": what}, [states])


class Leaky(nn.Module):
    def __init__(self, begin):
        super().__init__()
        self.begin = begin

    def forward(self, x, h=None):
        h = torch.full_like(x, self.begin) if h is None else h
        h = 0.5 * h + x
        return h, h.clone()


class Required(nn.Module):
    def forward(self, x, h):
        h = 0.5 * h + x
        return h, h.clone()


def described(module, initial):
    state = Floats("batch", 3, initial=initial)
    inputs = {"x": Floats("batch", 3), "h": state}
    return describe_model(Publication(module.eval(), "m", inputs, ["y", "h_n"], {"h_n": "h"}))


@pytest.mark.parametrize(("initial", "default"), [(None, ZEROS), (0, ZEROS), (2, RECORDED), (-math.inf, RECORDED)])
def test_required_state_begins_as_described(initial, default):
    model = described(Required(), initial)
    assert model.inputs[1].default == default
    assert model.inputs[0].default == manifest_pb2.DEFAULT_REQUIRED
    assert model.infinite_inputs == ({"h"} if initial == -math.inf else set())
    if default == RECORDED:
        assert (model.defaults["h"] == initial).all()
        assert (model.inputs[1].default_range.low, model.inputs[1].default_range.high) == (initial, initial)


def test_described_initial_value_must_equal_the_default_of_forward():
    model = described(Leaky(2.0), 2)
    assert (model.inputs[1].default, model.defaults["h"].tolist()) == (RECORDED, [[2.0] * 3])
    assert described(Leaky(2.0), None).defaults["h"].tolist() == [[2.0] * 3]
    for begin, initial in ((2.0, 1), (2.0, 0), (0.0, 1)):
        with pytest.raises(WrongArguments, match="forward without h returns other results"):
            described(Leaky(begin), initial)
