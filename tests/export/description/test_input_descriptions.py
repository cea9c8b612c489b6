"""Everything about a description that can be wrong is told, and nothing is exported then."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kit.own_modules import PUBLICATIONS, own_module
from rnnserve.export import Flags, Floats, Integers, Lengths, Publication, UnsupportedModule, WrongArguments
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.input_descriptions import InputDescription

X = Floats("batch", "sequence", 2)


class Model(nn.Module):
    """Takes and gives what a test says, and runs a recurrent layer."""

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
    """`refused(error, match, **changes)`: a right publication with these changes is refused, before any export."""
    return lambda error, match, **changes: not_published(error, match, dataclasses.replace(RIGHT, **changes))


def test_the_right_one_is_described():
    model = describe_model(RIGHT)
    assert [tensor.name for tensor in model.outputs] == ["output", "h_n"]
    assert model.sizes == {"batch": (1, 33), "sequence": (1, 128)}


@pytest.mark.parametrize(
    ("describe", "match"),
    [
        (lambda: Floats("batch", low=1.0), r"^Floats\(low=1.0, high=None\): give both, low below high, or neither"),
        (lambda: Floats("batch", low=1.0, high=1.0), "give both, low below high, or neither"),
        (lambda: Floats("batch", dtype="int64"), r"^Floats\(dtype='int64'\): models do not take such values as Floats"),
        (lambda: Floats("batch", dtype="float128x"), r"^Floats\(dtype='float128x'\): "),
        (lambda: Integers("batch", high=5, dtype="float32"), "models do not take such values as Integers"),
        (lambda: Integers("batch", high=0), r"no int64 lies in this range"),
        (lambda: Integers("batch", high=300, dtype="uint8"), r"no uint8 lies in this range"),
        (lambda: Integers("batch", low=-1, high=3, dtype="uint8"), r"no uint8 lies in this range"),
        (lambda: Lengths("batch"), r"^Lengths\('batch', dtype='int64'\): name a sequence axis"),
        (lambda: Lengths(dtype="uint8"), r"lengths are int64 or int32"),
        (lambda: Flags("batch", "a", "a"), r"two axes are named \"a\"$"),
        (lambda: Floats("batch", ("batch", 3)), r'the axis "batch" is dynamic: requests choose it'),
        (lambda: Floats("batch", 0), r"0 is no axis; write \"name\" for a dynamic one"),
        (lambda: Floats("batch", True), "True is no axis"),
        (lambda: Floats("batch", ""), "'' is no axis"),
        (lambda: Floats("batch", ("features", -1)), r"\('features', -1\) is no axis"),
    ],
)
def test_what_no_input_can_be(describe, match):
    with pytest.raises(WrongArguments, match=match):
        describe()


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 256), ("int8", -128, 128), ("int16", -32768, 32768)])
def test_integers_may_take_all_values_of_their_dtype(dtype, low, high):
    described = Integers("batch", low=low, high=high, dtype=dtype)
    assert (described.low, described.high) == (low, high)
    for wrong in ({"low": low - 1, "high": high}, {"low": low, "high": high + 1}, {"low": low, "high": low}):
        with pytest.raises(WrongArguments, match=f"no {dtype} lies in this range"):
            Integers("batch", dtype=dtype, **wrong)


@pytest.mark.parametrize("name", ["a", "batches", "zeros"])
def test_fixed_axes_have_any_name_but_batch(name):
    assert Floats("batch", (name, 3)).axes == (("batch", -1), (name, 3))


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"y": X}, r'^inputs names "y", which is no parameter of Model.forward; it has x, lengths, h_0, extra$'),
        (
            {"lengths": Lengths(), "x": X, "h_0": INPUTS["h_0"]},
            r"^inputs has the order \['lengths', 'x', 'h_0'\]; expected that of forward: x, lengths, h_0, extra$",
        ),
        ({"x": X, "h_0": INPUTS["h_0"]}, r'^inputs does not describe "lengths", which forward needs'),
        ({**INPUTS, "x": {"x": "batch"}}, r'^inputs\["x"\] is a str; expected Floats'),
        ({**INPUTS, "h_0": {"x": INPUTS["h_0"]}}, r'^inputs describes "x" twice$'),
        ({**INPUTS, "h_0": Floats(1, 3, 5)}, r'^input "h_0" has no axis "batch"'),
        ({**INPUTS, "lengths": Lengths("steps")}, r'^input "lengths" holds lengths of "steps", which is no dynamic'),
        (
            {**INPUTS, "h_0": Floats(("sequence", 1), "batch", 5)},
            r'^the axis "sequence" is dynamic in one input and fixed in another',
        ),
        ({**INPUTS, "extra": Lengths()}, r"^two inputs hold the lengths of one axis: sequence, sequence$"),
        (
            {**INPUTS, "x": Floats("batch", "sequence", 3)},
            r"^forward does not take inputs as described, x \[\d+, \d+, 3\] float32, .*RuntimeError: ",
        ),
        (
            {**INPUTS, "x": InputDescription((("batch", -1),), np.dtype("complex64"))},
            r'^input "x" has dtype complex64; models take booleans, integers and floats$',
        ),
    ],
)
def test_inputs_that_do_not_fit_forward(refused, inputs, match):
    refused(WrongArguments, match, inputs=inputs)


def test_a_module_without_inputs(refused):
    class Alone(nn.Module):
        def forward(self):
            return torch.zeros(1)

    refused(WrongArguments, "^inputs describes no tensor", module=Alone(), inputs={}, states={})


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ([], r"^outputs is \[\]; expected the name of each tensor that forward returns, each once$"),
        ("output", "^outputs is 'output'; expected the name of each"),
        (["output", "output"], "each once"),
        (["output"], r"^outputs names 1 tensors, \['output'\], but forward gives 2, of shapes "),
        (["output", "h_n", "c_n"], r"^outputs names 3 tensors, .* but forward gives 2"),
        (
            {"output": Floats("batch", "sequence", ("hidden", 6)), "h_n": INPUTS["h_0"]},
            r'^outputs\["output"\] describes float32 \[\'batch\', \'sequence\', 6\]; forward gives float32 .* 5\]$',
        ),
        ({"output": Integers("batch", "sequence", 5, high=3), "h_n": INPUTS["h_0"]}, "describes int64 .* float32"),
    ],
)
def test_outputs_that_do_not_fit_forward(refused, outputs, match):
    refused(WrongArguments, match, outputs=outputs)


def test_a_dict_of_outputs_names_fixed_axes():
    outputs = {"output": Floats("batch", "sequence", ("hidden", 5)), "h_n": INPUTS["h_0"]}
    model = describe_model(dataclasses.replace(RIGHT, outputs=outputs))
    assert [axis.name for axis in model.outputs[0].axes] == ["batch", "sequence", "hidden"]


@pytest.mark.parametrize(
    ("error", "result", "match"),
    [
        (
            UnsupportedModule,
            lambda o, _: o.sum((0, 1)),
            r'^output "y" of shape \[5\] has no axis as large as the batch',
        ),
        (
            UnsupportedModule,
            lambda o, _: o.repeat(1, o.shape[1], 1),
            r'^axis 1 of output "y" is \d+ for .*: neither fixed, nor as',
        ),
        (UnsupportedModule, lambda o, _: o.to(torch.complex64), r'^output "y" is complex64; models give booleans'),
        (
            UnsupportedModule,
            lambda o, _: o if o.size(1) < 9 else o[:, 0],
            r'^output "y" has shape .* or .*, by the size of the inputs$',
        ),
        (
            UnsupportedModule,
            lambda o, _: o if o.size(1) > 9 else o[:, 0],
            r'^output "y" has shape .* or .*, by the size of the inputs$',
        ),
        (WrongArguments, lambda *_: 3, "^forward returns an int of Python, .* only. Keep it a t"),
        (
            WrongArguments,
            lambda o, _: nn.utils.rnn.pack_sequence([o[0], o[1]]),
            "^forward returns a PackedSequence; return pad_packed_sequence of it instead$",
        ),
    ],
)
def test_results_that_no_server_can_give(refused, error, result, match):
    refused(error, match, module=Model(result), outputs=["y"], states={})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "../up"}, r"^the name '../up' cannot be a model's folder: use letters"),
        ({"module": "model.pt"}, "^publish got a str; expected an nn.Module$"),
        ({"states": {"c_n": "h_0"}}, r'^states names the output "c_n"; the outputs are output, h_n$'),
        ({"states": {"h_n": "c_0"}}, r'^states names the input "c_0"; the inputs are x, lengths, h_0$'),
        ({"states": {"output": "h_0"}}, r'^states: "output" continues as "h_0", but has axes \[-1, -1, 5\] where'),
        ({"labels": "ab"}, "^labels is 'ab'; expected a different name for each class$"),
        ({"labels": ["a", "a"]}, "expected a different name for each class"),
        ({"labels": ["a", ""]}, "expected a different name for each class"),
        ({"labels": ["a", "b"]}, r"^labels has 2 names, but no output has a last axis of that size: "),
        (
            {"sizes": {"steps": (1, 9)}},
            r"^sizes names the axes \['steps'\]; the dynamic axes are \['batch', 'sequence'\]$",
        ),
    ],
)
def test_other_parts_of_a_description(refused, changes, match):
    refused(WrongArguments, match, **changes)


def test_two_outputs_that_continue_as_one_input(refused):
    changes = {"module": Model(lambda _, h_n: (h_n, h_n + 1)), "outputs": ["a", "b"]}
    refused(WrongArguments, "^states: two outputs continue as one input", states={"a": "h_0", "b": "h_0"}, **changes)


GOOD = {"x": np.zeros((3, 4, 2), np.float32)}


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ({**GOOD, "y": 1}, r'^samples\[1\] has "y"; the inputs are x, lengths, h_0$'),
        (
            {"lengths": np.array([1, 2, 3])},
            r'^samples\[1\] has no "x", which may not be left out: it is neither a state',
        ),
        ({"x": np.zeros((3, 4, 3))}, r'^samples\[1\]\["x"\] has shape \[3, 4, 3\]; expected \[3, 4, 2\]'),
        ({"x": np.zeros((4, 2))}, r'^samples\[1\]\["x"\] has '),
        ({**GOOD, "lengths": np.array([1, 2])}, r'^samples\[1\]\["'),
        ({**GOOD, "lengths": np.array([1, 2, 5])}, r'^samples\[1\]\["lengths"\] has a length outside 1..4$'),
        ({**GOOD, "lengths": np.array([0, 2, 4])}, r'^samples\[1\]\["lengths"\] has a length outside 1..4$'),
        ({**GOOD, "lengths": np.array([1, 2, 3.5])}, r'^samples\[1\]\["lengths"\] is float64; expected int64$'),
        ({"x": np.full((3, 4, 2), np.nan)}, r'^samples\[1\]\["x"\] has a value that is not finite$'),
        ({**GOOD, "h_0": np.zeros((2, 3, 5))}, r'^samples\[1\]\["h_0"\] has shape \[2, 3, 5\]; expected \[1, 3, 5\]'),
    ],
)
def test_samples_that_are_incomplete_or_of_other_shapes(refused, sample, match):
    refused(WrongArguments, match, samples=[GOOD, sample])


def test_a_sample_of_integers_out_of_bounds(not_published):
    kind, describe = PUBLICATIONS["tagger"]
    publication = dataclasses.replace(describe(own_module(kind)), samples=[{"words": np.full((3, 2), 40)}])
    not_published(WrongArguments, r'^samples\[0\]\["words"\] has a value outside 0..39$', publication)


def test_samples_are_completed():
    sample = describe_model(dataclasses.replace(RIGHT, samples=[GOOD])).samples[0]
    assert list(sample) == ["x", "lengths", "h_0"]
    assert sample["lengths"].tolist() == [4, 4, 4]
    assert sample["h_0"].shape == (1, 3, 5)


def test_a_final_state_has_the_axis_names_of_the_initial_one():
    inputs = {**INPUTS, "h_0": Floats(("layers", 1), "batch", ("hidden", 5))}
    h_n = describe_model(dataclasses.replace(RIGHT, inputs=inputs)).outputs[1]
    assert ([axis.name for axis in h_n.axes], h_n.continues_as) == (["layers", "batch", "hidden"], "h_0")


def test_sizes_are_those_of_the_proof_and_of_the_axes_of_inputs():
    model = describe_model(dataclasses.replace(RIGHT, sizes={"sequence": (5, 64)}))
    assert model.sizes == {"batch": (1, 33), "sequence": (5, 64)}
    limits = {(t.name, a.name): (a.smallest, a.largest) for t in model.inputs for a in t.axes if a.size == -1}
    assert limits == {
        ("x", "batch"): (0, 0), ("x", "sequence"): (5, 64), ("lengths", "batch"): (0, 0), ("h_0", "batch"): (0, 0),
    }  # fmt: skip


@pytest.mark.parametrize("bounds", [(0, 5), (5, 4), (-1, 3), (3,)])
def test_sizes_that_are_none(refused, bounds):
    refused(WrongArguments, r'^sizes\["sequence"\] is .*; expected the smallest and', sizes={"sequence": bounds})


@pytest.mark.parametrize("high", [2, 3, 4, 5, 7])
def test_axes_are_found_within_narrow_sizes(high):
    sizes = {"sequence": (1, high), "batch": (1, high)}
    model = describe_model(dataclasses.replace(RIGHT, sizes=sizes))
    assert [[axis.size for axis in tensor.axes] for tensor in model.outputs] == [[-1, -1, 5], [1, -1, 5]]
    assert [axis.name for axis in model.outputs[0].axes[:2]] == ["batch", "sequence"]


def test_a_script_is_refused_with_what_to_publish(refused):
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        scripted = torch.jit.script(Plain())
    refused(UnsupportedModule, "TorchScript module, .*; publish the nn.Module that was scripted$", module=scripted)


def test_bfloat16_is_refused_with_what_to_publish(refused):
    match = r"is bfloat16, .*; publish module.float\(\), which holds"
    refused(UnsupportedModule, match, module=Model().bfloat16())


def test_a_module_elsewhere_is_refused_with_what_to_publish(refused):
    refused(UnsupportedModule, r"is on meta; publish module.cpu\(\)$", module=Model().to("meta"))


def test_a_name_of_an_input_and_an_output(refused):
    refused(WrongArguments, '^"h_0" names an input and an output; name the output', outputs=["output", "h_0"])


def test_a_batch_and_a_sequence_axis_that_are_exchanged(refused):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(2, 7, batch_first=True)

        def forward(self, x):
            return self.gru(x)

    refused(
        UnsupportedModule,
        'It has the size of "sequence", 5: are "batch" and "sequence" exchanged in the inputs\' axes',
        module=Plain(),
        inputs={"x": Floats("sequence", "batch", 2)},
        states={},
    )


def test_an_embedding_that_is_smaller_than_described(refused):
    kind, describe = PUBLICATIONS["tagger"]
    publication = describe(own_module(kind))
    inputs = {**publication.inputs, "words": Integers("sequence", "batch", high=4000)}
    with_more = {"module": publication.module, "inputs": inputs, "outputs": publication.outputs, "states": {}}
    refused(WrongArguments, r'"words" up to \d+, .*: is high more than an embedding has entries\?', **with_more)


def test_weights_that_are_not_numbers(refused):
    module = Model()
    module.get_parameter("gru.weight_hh_l0").data[0, 0] = torch.nan
    refused(WrongArguments, "^the module's gru.weight_hh_l0 holds NaN", module=module)


def test_a_description_that_is_none(refused):
    refused(WrongArguments, r'^inputs\["x"\] is a str; expected Floats', inputs={**INPUTS, "x": "float32"})


def test_one_sample_without_a_list(refused):
    refused(WrongArguments, "^samples is one dict; expected a list", samples={"x": np.zeros((1, 2, 2), np.float32)})


def test_scores_that_are_masked_by_infinity(refused):
    module = Model(lambda output, h_n: (output.masked_fill(output > 0, -torch.inf), h_n))
    refused(
        UnsupportedModule,
        r'^output "output" holds values that are not finite, .*: masked_fill\(…, -1e9\). Or publish it so, with allow_',
        module=module,
    )
