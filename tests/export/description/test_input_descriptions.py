"""Every mistake in a description is reported, with what to change, before anything is exported."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnserve.export import Flags, Floats, Integers, Lengths, Publication, UnsupportedModule, WrongArguments
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.publication import InputDescription

X = Floats("batch", "sequence", 2)


class Model(nn.Module):
    """A recurrent layer whose results a test chooses."""

    def __init__(self, result=lambda output, h_n: (output, h_n)):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.result = result

    def forward(self, x, lengths, h_0, extra=None):  # noqa: ARG002 - only described
        return self.result(*self.gru(x, h_0))


INPUTS = {"x": X, "lengths": Lengths(), "h_0": Floats(1, "batch", 5)}
RIGHT = Publication(Model(), "model", INPUTS, ["output", "h_n"], states={"h_n": "h_0"})


@pytest.fixture
def refused(not_published):
    """`refused(match, **changes)` checks that RIGHT with these changes is refused before any export."""
    return lambda match, error=WrongArguments, **changes: not_published(
        error, match, dataclasses.replace(RIGHT, **changes)
    )


@pytest.mark.parametrize(
    ("describe", "match"),
    [
        (lambda: Floats("batch", low=1.0), "expected both bounds, with low below high, or neither"),
        (lambda: Floats("batch", low=1.0, high=1.0), "expected both bounds, with low below high, or neither"),
        (lambda: Floats("batch", dtype="int64"), "Floats does not support this dtype"),
        (lambda: Floats("batch", dtype="float128x"), r"^Floats\(dtype='float128x'\): "),
        (lambda: Integers("batch", high=5, dtype="float32"), "Integers does not support this dtype"),
        (lambda: Integers("batch", high=0), "this range contains no int64"),
        (lambda: Integers("batch", high=257, dtype="uint8"), "this range contains no uint8"),
        (lambda: Integers("batch", low=-129, high=3, dtype="int8"), "this range contains no int8"),
        (lambda: Lengths("batch"), "expected the name of a sequence axis"),
        (lambda: Lengths(dtype="uint8"), "and int64 or int32"),
        (lambda: Flags("batch", "a", "a"), 'two axes are named "a"$'),
        (lambda: Floats("batch", ("batch", 3)), r'the axis "batch" must be dynamic, because requests choose its size'),
        (lambda: Floats("batch", 0), r'0 is not an axis; write "name" for a dynamic axis'),
        (lambda: Floats("batch", True), "True is not an axis"),
        (lambda: Floats("batch", ""), "'' is not an axis"),
        (lambda: Floats("batch", ("features", -1)), r"\('features', -1\) is not an axis"),
    ],
)
def test_invalid_input_description_is_refused(describe, match):
    with pytest.raises(WrongArguments, match=match):
        describe()


def test_bounds_of_integers_can_be_the_limits_of_their_dtype():
    for dtype, low, high in (("uint8", 0, 256), ("int8", -128, 128), ("int16", -32768, 32768)):
        described = Integers("batch", low=low, high=high, dtype=dtype)
        assert (described.low, described.high) == (low, high)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"y": X}, r'^inputs names "y", which is not a parameter of Model.forward; it has x, lengths, h_0, extra$'),
        ({"lengths": Lengths(), "x": X, "h_0": INPUTS["h_0"]}, "expected that of forward: x, lengths, h_0, extra$"),
        ({"x": X, "h_0": INPUTS["h_0"]}, r'^inputs does not describe "lengths", which forward needs'),
        ({**INPUTS, "x": {"x": "batch"}}, r'^inputs\["x"\] is a str; expected Floats'),
        ({**INPUTS, "x": "float32"}, r'^inputs\["x"\] is a str; expected Floats'),
        ({**INPUTS, "h_0": {"x": INPUTS["h_0"]}}, '^inputs describes "x" twice$'),
        ({**INPUTS, "h_0": Floats(1, 3, 5)}, '^input "h_0" has no axis "batch"'),
        ({**INPUTS, "lengths": Lengths("steps")}, '^input "lengths" holds lengths of "steps", which is not a dynamic'),
        ({**INPUTS, "h_0": Floats(("sequence", 1), "batch", 5)}, '"sequence" is dynamic in one input and fixed in'),
        ({**INPUTS, "extra": Lengths()}, "^two inputs hold the lengths of the same axis: sequence, sequence$"),
        (
            {**INPUTS, "x": Floats("batch", "sequence", 3)},
            r"^forward does not accept the described inputs, .*, 3\] f.*Error: ",
        ),
        ({**INPUTS, "x": InputDescription((("batch", -1),), np.dtype("complex64"))}, "booleans, integers or floats$"),
    ],
)
def test_inputs_must_fit_forward(refused, inputs, match):
    refused(match, inputs=inputs)


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ([], r"^outputs is \[\]; expected a different name for each tensor that forward returns$"),
        ("output", "^outputs is 'output'; expected a different name for each"),
        (["output", "output"], "a different name for each"),
        (["output"], r"^outputs names 1 tensors, \['output'\], but forward returns 2, of shapes "),
        (["output", "h_n", "c_n"], "^outputs names 3 tensors, .* but forward returns 2"),
        (["output", "h_0"], '^"h_0" names an input and an output; give the output'),
        (
            {"output": Floats("batch", "sequence", ("hidden", 6)), "h_n": INPUTS["h_0"]},
            r"6\], but forward returns .* 5\]$",
        ),
        ({"output": Integers("batch", "sequence", 5, high=3), "h_n": INPUTS["h_0"]}, "describes int64 .* float32"),
    ],
)
def test_outputs_must_fit_forward(refused, outputs, match):
    refused(match, outputs=outputs)


@pytest.mark.parametrize(
    ("error", "result", "match"),
    [
        (UnsupportedModule, lambda o, _: o.sum((0, 1)), r'"y" of shape \[5\] has no axis as large as the batch'),
        (UnsupportedModule, lambda o, _: o.to(torch.complex64), '^output "y" is complex64; expected booleans'),
        (
            UnsupportedModule,
            lambda o, _: o if o.size(1) < 9 else o[:, 0],
            "shape .* for some sizes of the inputs, and .* for others$",
        ),
        (
            UnsupportedModule,
            lambda o, _: o if o.size(1) > 9 else o[:, 0],
            "shape .* for some sizes of the inputs, and .* for others$",
        ),
        (UnsupportedModule, lambda o, _: o.masked_fill(o > 0, -torch.inf), r"masked_fill\(…, -1e9\).*allow_"),
        (WrongArguments, lambda *_: 3, "^forward returns an int of Python"),
        (WrongArguments, lambda o, _: nn.utils.rnn.pack_sequence([o[0], o[1]]), "Return pad_packed_sequence of it"),
    ],
)
def test_results_must_be_tensors_that_a_server_can_return(refused, error, result, match):
    refused(match, error, module=Model(result), outputs=["y"], states={})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "../up"}, "^the name '../up' cannot name a model's folder. Use letters"),
        ({"module": "model.pt"}, "^publish got a str; expected an nn.Module$"),
        ({"states": {"c_n": "h_0"}}, '^states names the output "c_n"; the outputs are output, h_n$'),
        ({"states": {"h_n": "c_0"}}, '^states names the input "c_0"; the inputs are x, lengths, h_0$'),
        ({"states": {"output": "h_0"}}, r'^states: "output" continues as "h_0", but has the axes \[-1, -1, 5\], and'),
        ({"labels": "ab"}, "^labels is 'ab'; expected a different name for each class$"),
        ({"labels": ["a", "a"]}, "expected a different name for each class"),
        ({"labels": ["a", ""]}, "expected a different name for each class"),
        ({"labels": ["a", "b"]}, "^labels has 2 names, but no output has a last axis of that size: "),
        ({"sizes": {"steps": (1, 9)}}, r"^sizes names the axes \['steps'\]; the dynamic axes are \['batch', 'seq"),
        ({"sizes": {"sequence": (0, 5)}}, r'^sizes\["sequence"\] is .*; expected the smallest and'),
        ({"sizes": {"sequence": (5, 4)}}, r'^sizes\["sequence"\] is .*; expected the smallest and'),
        ({"sizes": {"sequence": (3,)}}, r'^sizes\["sequence"\] is .*; expected the smallest and'),
        ({"sizes": {"sequence": (2, None)}}, r"^sizes.* needs a largest size, because servers refuse larger requests"),
        ({"samples": {"x": np.zeros((1, 2, 2), np.float32)}}, "^samples is one dict; expected a list"),
    ],
)
def test_other_parts_of_a_description_must_fit(refused, changes, match):
    refused(match, **changes)


GOOD = {"x": np.zeros((3, 4, 2), np.float32)}


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ({**GOOD, "y": 1}, r'^samples\[1\] has "y"; the inputs are x, lengths, h_0$'),
        ({"lengths": np.array([1, 2, 3])}, r'^samples\[1\] lacks the required input "x"'),
        ({"x": np.zeros((3, 4, 3))}, r'^samples\[1\]\["x"\] has shape \[3, 4, 3\]; expected \[3, 4, 2\]'),
        ({"x": np.zeros((4, 2))}, r'^samples\[1\]\["x"\] has '),
        ({**GOOD, "lengths": np.array([1, 2])}, r'^samples\[1\]\["'),
        ({**GOOD, "lengths": np.array([1, 2, 5])}, r'^samples\[1\]\["lengths"\] has a length outside 1..4$'),
        ({**GOOD, "lengths": np.array([0, 2, 4])}, r'^samples\[1\]\["lengths"\] has a length outside 1..4$'),
        ({**GOOD, "lengths": np.array([1, 2, 3.5])}, r'^samples\[1\]\["lengths"\] is float64; expected int64$'),
        ({"x": np.full((3, 4, 2), np.nan)}, r'^samples\[1\]\["x"\] has a value that is not finite'),
        ({**GOOD, "h_0": np.zeros((2, 3, 5))}, r'^samples\[1\]\["h_0"\] has shape \[2, 3, 5\]; expected \[1, 3, 5\]'),
    ],
)
def test_samples_must_be_complete_and_have_the_described_shapes(refused, sample, match):
    refused(match, samples=[GOOD, sample])


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(40, 3), nn.GRU(3, 4, batch_first=True)

    def forward(self, words):
        return self.gru(self.embedding(words))[0]


def test_integers_must_fit_their_bounds_and_the_embedding(not_published):
    words = {"words": Integers("batch", "sequence", high=40)}
    publication = Publication(Embedded(), "model", words, ["y"], samples=[{"words": np.full((3, 2), 40)}])
    not_published(WrongArguments, r'^samples\[0\]\["words"\] has a value outside 0..39$', publication)
    more = dataclasses.replace(publication, inputs={"words": Integers("batch", "sequence", high=4000)}, samples=[])
    not_published(WrongArguments, "Is high more than the number of embeddings", more)


def test_omitted_inputs_of_samples_are_filled_in():
    sample = describe_model(dataclasses.replace(RIGHT, samples=[GOOD])).samples[0]
    assert list(sample) == ["x", "lengths", "h_0"]
    assert sample["lengths"].tolist() == [4, 4, 4]
    assert sample["h_0"].shape == (1, 3, 5)


def test_axes_have_the_names_of_the_description():
    layers = Floats(("layers", 1), "batch", ("hidden", 5))
    model = describe_model(dataclasses.replace(RIGHT, inputs={**INPUTS, "h_0": layers}))
    assert [tensor.name for tensor in model.outputs] == ["output", "h_n"]
    h_n = model.outputs[1]
    assert ([axis.name for axis in h_n.axes], h_n.continues_as) == (["layers", "batch", "hidden"], "h_0")
    outputs = {"output": Floats("batch", "sequence", ("hidden", 5)), "h_n": INPUTS["h_0"]}
    model = describe_model(dataclasses.replace(RIGHT, outputs=outputs))
    assert [axis.name for axis in model.outputs[0].axes] == ["batch", "sequence", "hidden"]


@pytest.mark.parametrize("high", [2, 3, 4, 5, 7])
def test_axes_are_found_within_narrow_sizes(high):
    model = describe_model(dataclasses.replace(RIGHT, sizes={"sequence": (1, high), "batch": (1, high)}))
    assert [[axis.size for axis in tensor.axes] for tensor in model.outputs] == [[-1, -1, 5], [1, -1, 5]]
    assert [axis.name for axis in model.outputs[0].axes[:2]] == ["batch", "sequence"]


def test_module_that_cannot_be_published_is_refused_with_a_remedy(refused):
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit.script"):  # the latter since torch 2.15
        scripted = torch.jit.script(Plain())
    refused("TorchScript module, .*. Publish the original nn.Module", UnsupportedModule, module=scripted)
    refused(r"is bfloat16, .*. Publish module.float()", UnsupportedModule, module=Model().bfloat16())
    refused(r"is on meta; publish module.cpu\(\)$", UnsupportedModule, module=Model().to("meta"))
    module = Model()
    module.get_parameter("gru.weight_hh_l0").data[0, 0] = torch.nan
    refused("^the module's gru.weight_hh_l0 holds NaN", module=module)


def test_exchanged_batch_and_sequence_axes_are_named(refused):
    match = 'Are "batch" and "sequence" exchanged in the inputs\' axes'
    inputs, module = {"input": Floats("sequence", "batch", 2)}, nn.GRU(2, 7, batch_first=True)
    refused(match, UnsupportedModule, module=module, inputs=inputs, states={})
