"""Dynamic shapes as users write them, checked against sample arguments: what they become, and exact refusals."""

import pytest
import torch
from torch.export import Dim

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes, resize

X = torch.arange(24.0).reshape(2, 3, 4)
H = torch.zeros(1, 2, 5)
AXES = {0: "batch", 1: "sequence"}
DYNAMIC = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}


def of(args, shapes, *, parameters=None, names=None):
    parameters = parameters or ["x", "state"][: len(args)]
    names = names if names is not None else [f"input_{number}" for number in range(len(args))]
    return DynamicAxes.of(parameters, args, shapes, names)


@pytest.mark.parametrize(
    ("args", "shapes", "names", "given"),
    [
        ((X,), (AXES,), ({0: "batch", 1: "sequence"},), (DYNAMIC,)),
        ((X,), {"x": AXES}, ({0: "batch", 1: "sequence"},), (DYNAMIC,)),
        ((X,), ({-3: "batch", -2: "sequence"},), ({0: "batch", 1: "sequence"},), (DYNAMIC,)),
        ((X,), (("batch", "sequence", None),), ({0: "batch", 1: "sequence"},), (DYNAMIC,)),
        ((X,), ((Dim("batch"), Dim("sequence"), 4),), ({0: "batch", 1: "sequence"},), (DYNAMIC,)),
        ((X,), None, ({},), (None,)),
        ((X,), {}, ({},), (None,)),
        ((X, H), (AXES, {1: "batch"}), (AXES, {1: "batch"}), (DYNAMIC, {1: Dim.DYNAMIC})),
        ((X, H), {"state": {1: "batch"}}, ({}, {1: "batch"}), (None, {1: Dim.DYNAMIC})),
    ],
)
def test_shapes_in_every_form(args, shapes, names, given):
    axes = of(args, shapes)
    assert axes.names == names
    assert axes.shapes == given
    assert axes.labels == ("input_0", "input_1")[: len(args)]


def test_nested_arguments_and_constants():
    args = ((X, [H, H]), {"more": H, "none": None})
    shapes = ((AXES, [None, {1: "batch"}]), {"more": {1: "batch"}})
    axes = of(args, shapes, names=["x", "h", "c", "more"])
    assert axes.names == (AXES, {}, {1: "batch"}, {1: "batch"})
    assert axes.sizes == {"batch": 2, "sequence": 3}
    one = {1: Dim.DYNAMIC}
    assert axes.shapes == ((DYNAMIC, [None, one]), {"more": one, "none": None})
    assert of(args, (None, None), names=["x", "h", "c", "more"]).names == ({}, {}, {}, {})


def test_a_variadic_parameter_has_one_tuple_of_shapes():
    axes = of((H, X, X), (None, AXES, AXES), parameters=["h", "*xs", "*xs"])
    assert axes.shapes == (None, (DYNAMIC, DYNAMIC))
    assert of((X, X), (AXES, AXES), parameters=["x", "y"]).shapes == (DYNAMIC, DYNAMIC)


@pytest.mark.parametrize(
    ("args", "shapes", "message"),
    [
        (
            (X,),
            {"y": AXES},
            "dynamic_shapes names ['y']; the forward's parameters are ['x'], and it is by these that a dict of dynamic "
            "shapes goes",
        ),
        (
            (X,),
            (AXES, AXES),
            "dynamic_shapes has 2 entries for 1 arguments; give one an argument: None, or axis -> name, such as "
            '{0: "batch", 1: "sequence"}',
        ),
        ((X,), "batch", "dynamic_shapes has str entries for 1 arguments; give one an argument"),
        (
            ([X, H],),
            ([AXES],),
            "dynamic_shapes gives [{0: 'batch', 1: 'sequence'}] for the argument x, which is a list",
        ),
        (([X],), ({0: "batch"},), "dynamic_shapes gives {0: 'batch'} for the argument x, which is a list of 1"),
        (
            ({"a": X},),
            ({"b": AXES},),
            "dynamic_shapes gives {'b': {0: 'batch', 1: 'sequence'}} for the argument x, which is a dict of ['a']",
        ),
        (({"a": X},), ([AXES],), "dynamic_shapes gives [{0: 'batch', 1: 'sequence'}] for the argument x, which is a d"),
        ((5,), (AXES,), "dynamic_shapes gives {0: 'batch', 1: 'sequence'} for the argument x, which is 5"),
        (
            (X,),
            (("batch",),),
            "dynamic_shapes gives ('batch',) for the argument x, which is a tensor of 3 axes, (2, 3,",
        ),
        ((X,), ("batch",), "dynamic_shapes gives 'batch' for the argument x, which is a tensor of shape (2, 3, 4)"),
        ((X,), ({3: "batch"},), "dynamic_shapes names axis 3 of `input_0`, which has 3 axes, (2, 3, 4)"),
        ((X,), ({-4: "batch"},), "dynamic_shapes names axis -4 of `input_0`, which has 3 axes, (2, 3, 4)"),
        ((X,), ({"0": "batch"},), "dynamic_shapes names axis '0' of `input_0`, which has 3 axes, (2, 3, 4)"),
        ((X,), ({0: True},), "dynamic_shapes gives True for axis 0 of `input_0`; give the axis a name, such as"),
        ((X,), ({0: ""},), "dynamic_shapes gives '' for axis 0 of `input_0`; give the axis a name, such as"),
        (
            (X[:, :0],),
            (AXES,),
            "the sample is empty: axis 1 of `input_0` (sequence) has size 0; give at least one row and one step",
        ),
        (
            (X, H),
            (AXES, {0: "batch"}),
            'the axis "batch" is 2 at axis 0 of `input_0` and 1 at axis 0 of `input_1`; axes of one name are one size. '
            "Is an axis out of place, or does it need another name?",
        ),
    ],
)
def test_shapes_that_do_not_fit(args, shapes, message):
    with pytest.raises(WrongArguments) as refused:
        of(args, shapes)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "input_names has 1 names, ['a'], for 2 tensors among the arguments, ['x', 'state']; give one name a"),
        (
            ["a", "b", "c"],
            "input_names has 3 names, ['a', 'b', 'c'], for 2 tensors among the arguments, ['x', 'state']",
        ),
        (["a", "a"], "input_names has a name twice: ['a', 'a']"),
    ],
)
def test_names_that_do_not_fit(names, message):
    with pytest.raises(WrongArguments) as refused:
        of((X, H), (AXES, None), names=names)
    assert str(refused.value).startswith(message)


def test_arguments_are_repeated_or_cut_to_other_sizes():
    axes = of((X, (H, H)), (AXES, None), names=["x", "h", "c"])
    x, (h, c) = resize((X, (H, H)), axes, {"batch": 5, "sequence": 2, "other": 9})
    assert torch.equal(x, X[[0, 1, 0, 1, 0]][:, :2])
    assert h is not c
    assert h is not H
    assert torch.equal(resize((X, (H, H)), axes, {})[0], X)
