"""Arguments of an export that do not fit the module, or each other: the message names the one that does not."""

import pytest
import torch
from torch import nn

from rnnserve.export import (
    Floats,
    Lengths,
    WrongArguments,
    export_onnx,
    publish,
)

AXES = {0: "batch", 1: "sequence"}

ARGUMENTS = {
    "names, too few": ({"input_names": []}, r"0 names.*1 tensors"),
    "names, twice": ({"output_names": ["a", "a"]}, r"output_names has 1 different names.*2 results"),
    "results": ({"output_names": ["a"]}, r"output_names has 1.*2 results"),
    "arguments": ({"args": (1, 2, 3)}, r"cannot be called with 3 arguments"),
    "args no tuple": ({"args": [1]}, r"expected a tuple"),
    "shapes, too many": ({"dynamic_shapes": (AXES, AXES)}, r"2 entries for 1 arguments"),
    "axis out of range": ({"dynamic_shapes": ({3: "batch"},)}, r"axis 3 of `input`, which has 3 axes"),
    "axis without a name": ({"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)}, r"expected a name"),
    "a tensor where a list is": ({"args": ([torch.randn(3, 4, 3)],)}, r"dynamic_shapes has"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_argument_is_named(case):
    change, message = ARGUMENTS[case]
    asked = {
        "args": (torch.randn(3, 4, 3),),
        "input_names": ["input"],
        "output_names": ["output", "h_n"],
        "dynamic_shapes": (AXES,),
    }
    with pytest.raises(WrongArguments, match=message):
        export_onnx(nn.GRU(3, 4, batch_first=True).eval(), **{**asked, **change})  # type: ignore[arg-type, dict-item]


def test_two_names_for_one_size_are_refused():
    class OneState(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(3, 4, 2, batch_first=True)

        def forward(self, x, h):
            return self.rnn(x, (h, h))[0]

    with pytest.raises(WrongArguments, match=r'"batch" and "rows" \(axis 1 of `input_1`\) to one size'):
        export_onnx(
            OneState().eval(),
            (torch.randn(3, 4, 3), torch.zeros(2, 3, 4)),
            input_names=["input_0", "input_1"],
            output_names=["output"],
            dynamic_shapes=(AXES, {1: "rows"}),
        )


X, H = torch.zeros(2, 3, 4), torch.zeros(1, 2, 5)


class Anything(nn.Module):
    def forward(self, x, state=None):
        return x if state is None else (x, state)


@pytest.mark.parametrize(
    ("args", "shapes", "message"),
    [
        ((X,), {"y": AXES}, r"names \['y'\]; the forward's parameters are"),
        ((X,), "batch", "str entries for 1 arguments; expected one for each argument"),
        (([X, H],), ([AXES],), "for the argument x, which is a list"),
        (({"a": X},), ({"b": AXES},), r"for the argument x, which is a dict of \['a'\]"),
        ((X,), (("batch",),), "for the argument x, which is a tensor of 3 axes"),
        ((X,), ("batch",), r"for the argument x, which is a tensor of shape \(2, 3, 4\)"),
        ((X,), ({-4: "batch"},), "names axis -4 of `input_0`, which has 3 axes"),
        ((X,), ({"0": "batch"},), "names axis '0' of `input_0`"),
        ((X,), ({0: ""},), "has '' for axis 0 of `input_0`; expected a name"),
        ((X[:, :0],), (AXES,), r"the sample is empty: axis 1 of `input_0` \(sequence\) has size 0"),
        ((X, H), (AXES, {0: "batch"}), r'the axis "batch" is 2 at axis 0 of `input_0` and 1 at axis 0 of `input_1`'),
    ],
)
def test_dynamic_shapes_that_do_not_fit_are_refused(args, shapes, message):
    names = [f"input_{at}" for at, _ in enumerate(torch.utils._pytree.tree_leaves(args))]
    with pytest.raises(WrongArguments, match=message):
        export_onnx(Anything(), args, input_names=names, output_names=["y"], dynamic_shapes=shapes)


@pytest.mark.parametrize(
    "shapes",
    [
        ({0: "batch", 1: "sequence"},),
        {"input": {-3: "batch", -2: "sequence"}},
        (("batch", "sequence", None),),
        ((torch.export.Dim("batch"), torch.export.Dim("sequence"), 3),),
    ],
    ids=["axes", "parameters, from the end", "a name for each axis", "Dim"],
)
def test_dynamic_shapes_are_accepted_in_every_form(shapes):
    program = export_onnx(
        nn.Sequential(nn.Linear(3, 2)).eval(),
        (torch.randn(3, 4, 3),),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=shapes,
    )
    assert list(map(str, program.model.graph.outputs[0].shape or ())) == ["batch", "sequence", "2"]


def test_lengths_of_an_unknown_axis_are_refused_with_the_correct_name(tmp_path):
    inputs = {"x": Floats("batch", "frames", 3), "state": Lengths()}
    with pytest.raises(WrongArguments, match=r'the dynamic axes are frames\. Write Lengths\("frames"\)$'):
        publish(Anything(), "rows", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
