"""Places (argmax, sort) among values that are equal but for rounding pass, and no wrong place does."""

import copy
import functools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import ParityError, prove
from rnnserve.export.parity.proof import reference_of

OVER_STEPS, OVER_FEATURES = (lambda y: y.argmax(1)), (lambda y: y.argmax(-1))


class Chosen(nn.Module):
    """Places among the states of a layer, which converge if the input is constant."""

    def __init__(self, choices, layer):
        super().__init__()
        self.choices, self.layer = choices, layer

    def forward(self, x):
        output = self.layer(x)[0]
        return tuple(choose(output) for choose in self.choices)


@functools.cache
def exported(*choices, relu=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.RNN(4, 6, batch_first=True, nonlinearity="relu") if relu else nn.GRU(4, 6, batch_first=True)
    names = [f"places_{number}" for number in range(len(choices))]
    inputs = {"x": Floats("batch", "sequence", ("features", 4))}
    model = describe_model(Publication(Chosen(choices, layer).eval(), "m", inputs, names))
    return model, to_onnx(model), reference_of(model)


def test_places_are_judged_by_the_values_compared():
    choices = [
        OVER_STEPS,
        lambda y: y.argmin(-1),
        OVER_FEATURES,
        lambda y: y.max(1).indices,
        lambda y: y.min(-1, keepdim=True).indices,
        lambda y: y.sort(dim=-1, stable=True).indices,
    ]
    model, data, reference = exported(*choices)
    checks = prove(model, None, data, progress=False, reference=reference).parity.checks
    for number in range(len(choices)):
        assert f'onnx: "places_{number}", except where rounding alone changes it' in checks


# Each changes the operator that chooses, and returns nodes to put before it and after it.
def last_of_ties(node):
    kept = [attribute for attribute in node.attribute if attribute.name != "select_last_index"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("select_last_index", 1)])
    return [], []


def smallest(node):
    node.op_type = "ArgMin"
    return [], []


def turned_round(node):
    source, node.input[0] = node.input[0], "_turned"
    axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
    return [helper.make_node("Slice", [source, "_minus", "_far", f"_axis_{axis}", "_minus"], ["_turned"])], []


def rounded(node):
    source, node.input[0] = node.input[0], "_c"
    steps = [("Mul", [source, "_thousand"], "_a"), ("Round", ["_a"], "_b"), ("Div", ["_b", "_thousand"], "_c")]
    return [helper.make_node(operator, given, [result]) for operator, given, result in steps], []


CONSTANTS = {
    "_minus": np.array([-1]),
    "_far": np.array([-(2**62)]),
    "_axis_1": np.array([1]),
    "_axis_-1": np.array([-1]),
    "_thousand": np.array(1000.0, np.float32),
}


@pytest.mark.parametrize(
    ("choose", "relu", "faults"),
    [
        (OVER_STEPS, False, [last_of_ties, rounded]),
        (OVER_FEATURES, False, [turned_round]),
        (OVER_FEATURES, True, [smallest]),  # all states 0: many places are exactly equal
    ],
    ids=["steps", "features", "relu"],
)
def test_wrong_places_are_refused(choose, relu, faults):
    model, data, reference = exported(choose, relu=relu)
    for fault in faults:
        proto = onnx.load_model_from_string(data)
        proto.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in CONSTANTS.items())
        nodes = [copy.deepcopy(node) for node in proto.graph.node]
        (at,) = (number for number, node in enumerate(nodes) if node.op_type == "ArgMax")
        first, last = fault(nodes[at])
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes[:at], *first, nodes[at], *last, *nodes[at + 1 :]])
        onnx.checker.check_model(proto)
        with pytest.raises(ParityError, match="places"):
            prove(model, None, proto.SerializeToString(), progress=False, reference=reference)
