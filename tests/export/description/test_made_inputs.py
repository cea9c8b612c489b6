"""Masks, padding ids, shares of lengths, constants and dicts: the inputs of the model, and the arguments of forward."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kit.interface_modules import ARGUMENTS, MaskedMean, PaddedIds, X
from rnnserve.export import Flags, Floats, Integers, Lengths, Mask, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model

LENGTHS = np.array([5, 2, 4])


def rows_of(model: Any) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 5, 3)).astype(np.float32)
    values: dict[str, Any] = {
        **dict.fromkeys(("x", "forward.x", "backward.x"), x),
        "weight": x[:, 0, 0],
        "tokens": random.integers(1, 19, (3, 5)),
    }
    return {tensor.name: values.get(tensor.name, LENGTHS) for tensor in model.inputs}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_forward_gets_the_arguments_that_it_expects(name):
    interface = ARGUMENTS[name]
    publication = interface.publication(name)
    model = describe_model(publication)
    arrays = rows_of(model)
    rows = torch.from_numpy(next(array for array in arrays.values() if array.ndim > 1))
    for double in (False, True):
        module, user = model.module, publication.module
        if double:
            module, user = module.double(), user.double()
            rows = rows.double() if rows.is_floating_point() else rows
        (found,) = module.run(arrays).values()
        with torch.no_grad():
            expected = interface.call(user, rows, torch.from_numpy(LENGTHS))
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("mask", ["x", "lengths"]),
        ("mask_of_floats", ["x", "lengths"]),
        ("padded_ids", ["tokens", "lengths"]),
        ("relative", ["x", "lens"]),
        ("constants", ["x", "lengths"]),
        ("typed_dict", ["x", "lengths"]),
        ("dict_of_dicts", ["forward.x", "backward.x", "weight", "lengths"]),
    ],
)
def test_requests_can_omit_lengths(name, inputs):
    model = describe_model(ARGUMENTS[name].publication(name))
    assert [tensor.name for tensor in model.inputs] == inputs
    assert model.lengths == {"sequence": inputs[-1]}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("padded_ids", 1, 20), ("padded_with_the_last_id", 0, 19), ("mean_of_ids", 0, 20)]
)
def test_padding_id_is_excluded_when_forward_fails_on_rows_of_padding(name, low, high):
    model = describe_model(ARGUMENTS[name].publication(name))
    assert (model.inputs[0].integers.low, model.inputs[0].integers.high) == (low, high)


class Two(MaskedMean):
    def forward(self, x, y, mask, other, lengths=None):  # type: ignore[override]  # another module
        if lengths is not None:
            mask = mask & (lengths > 0).unsqueeze(1)
        return super().forward(x, mask) + super().forward(y, other)


def test_each_masked_axis_has_lengths_and_described_lengths_are_used():
    inputs = {"x": X, "y": Floats("batch", "further", 3), "mask": Mask(), "other": Mask("further")}
    model = describe_model(Publication(Two().eval(), "two", inputs, ["sum"]))
    assert model.lengths == {"sequence": "sequence_lengths", "further": "further_lengths"}
    model = describe_model(Publication(Two().eval(), "two", inputs | {"lengths": Lengths()}, ["sum"]))
    assert model.lengths == {"sequence": "lengths", "further": "further_lengths"}


class Taken(nn.Module):
    def forward(self, x, lengths, mask):
        return x.sum(1) * mask.sum(1, keepdim=True) + lengths


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mask("batch"), r'expected "batch" and the sequence axis'),
        (lambda: Mask(axes=("batch", 2, "sequence")), "and axes of size 1$"),
        (lambda: Mask(dtype="str"), "Mask does not support this dtype"),
        (lambda: Integers("batch", high=3, padding=300, dtype="uint8"), r"^Integers\(padding=300, dtype='uint8'\)"),
        (lambda: describe(MaskedMean(), {"x": X, "mask": Mask("steps")}), 'made from the lengths of "steps", but no'),
        (
            lambda: describe(PaddedIds(), {"tokens": Integers("batch", high=20, padding=0)}),
            r'has a padding id and the axes .*; expected "batch" and one dynamic axis',
        ),
        (
            lambda: describe(Taken(), {"x": X, "lengths": Floats("batch", 3), "mask": Mask()}),
            '^inputs describes "lengths", but the model needs an input of this name for the lengths of "sequence"',
        ),
        (
            lambda: describe(MaskedMean(), {"x": X, "mask": Flags("batch")}, {"mask": 1}),
            '^"mask" is in both inputs and constants; name each parameter in only one of them$',
        ),
        (
            lambda: describe(MaskedMean(), {"x": X}, {"mask": 1, "masks": 1}),
            '^constants names "masks", which is not a parameter of MaskedMean.forward; it has x, mask$',
        ),
        (lambda: describe(MaskedMean(), {"x": X}, 3), "^constants is a int; expected a dict by the names of forward"),
        (lambda: describe(MaskedMean(), {"x": X}), r'does not describe "mask", .* constants=\{"mask": …\}$'),
        (lambda: describe(MaskedMean(), {"x": Floats(3), "mask": Floats(1)}), r'with "batch", Floats\("batch", 3\)'),
        (lambda: describe(MaskedMean(), {"x": X, "mask": Floats(1)}), r'make it a constant .*constants=\{"mask"'),
    ],
)
def test_input_that_cannot_be_computed_is_refused(make, message):
    with pytest.raises(WrongArguments, match=message):
        make()


def describe(module: nn.Module, inputs: Any, constants: Any = None) -> Any:
    return describe_model(Publication(module.eval(), "model", inputs, ["y"], constants=constants or {}))
