"""Places among values that are equal but for rounding are right; no wrong place passes for one."""

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

CHOICES = {
    "argmax over steps": lambda y: y.argmax(1),
    "argmin over features": lambda y: y.argmin(-1),
    "argmax over features": lambda y: y.argmax(-1),
    "max over steps": lambda y: y.max(1).indices,
    "min over features, kept": lambda y: y.min(-1, keepdim=True).indices,
    "sort": lambda y: y.sort(dim=-1, stable=True).indices,
    "cummax": lambda y: y.cummax(1).indices,
}


class Chosen(nn.Module):
    """A place among the states of a layer, which converge where the input is constant."""

    def __init__(self, choose, layer):
        super().__init__()
        self.choose, self.layer = choose, layer

    def forward(self, x):
        return self.choose(self.layer(x)[0])


@functools.cache
def exported(name, relu=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.RNN(4, 6, batch_first=True, nonlinearity="relu") if relu else nn.GRU(4, 6, batch_first=True)
    module = Chosen(CHOICES[name], layer).eval()
    inputs = {"x": Floats("batch", "sequence", ("features", 4))}
    model = describe_model(Publication(module, "m", inputs, ["places"]))
    return model, to_onnx(model), reference_of(model, keeps=True)


@pytest.mark.parametrize("name", CHOICES)
def test_places_are_judged_by_the_values_compared(name):
    model, data, reference = exported(name)
    proof = prove(model, None, data, progress=False, reference=reference)
    assert 'onnx: "places", where it differs, by the values compared' in proof.parity.checks


# Each changes the operator that chooses; gives nodes to put before it, and after it.
def last_of_ties(node):
    (attribute,) = [attribute for attribute in node.attribute if attribute.name == "select_last_index"] or [None]
    if attribute is not None:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute("select_last_index", 1))
    return [], []


def smallest(node):
    node.op_type = {"ArgMax": "ArgMin", "ArgMin": "ArgMax"}[node.op_type]
    return [], []


def one_further(node):
    result, node.output[0] = node.output[0], "_own"
    return [], [helper.make_node("Add", ["_own", "_one"], [result])]


def turned_round(node):
    source, node.input[0] = node.input[0], "_turned"
    axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
    return [helper.make_node("Slice", [source, "_minus", "_far", f"_axis_{axis}", "_minus"], ["_turned"])], []


def a_little_more(node):
    source, node.input[0] = node.input[0], "_noisy"
    return [helper.make_node("Add", [source, "_noise"], ["_noisy"])], []


def rounded(node):
    source, node.input[0] = node.input[0], "_c"
    steps = [("Mul", [source, "_thousand"], "_a"), ("Round", ["_a"], "_b"), ("Div", ["_b", "_thousand"], "_c")]
    return [helper.make_node(operator, given, [result]) for operator, given, result in steps], []


@pytest.mark.parametrize(
    ("name", "fault", "relu"),
    [
        *(
            ("argmax over steps", fault, False)
            for fault in (last_of_ties, smallest, one_further, turned_round, rounded)
        ),
        *(("argmax over features", fault, False) for fault in (a_little_more, turned_round, one_further)),
        ("argmin over features", a_little_more, False),
        # Where all states of relu are 0 many places are equal, exactly.
        *(("argmax over features", fault, True) for fault in (last_of_ties, smallest, rounded)),
    ],
)
def test_wrong_places_are_refused(name, fault, relu):
    model, data, reference = exported(name, relu)
    proto = onnx.load_model_from_string(data)
    constants = {"_one": np.array(1), "_minus": np.array([-1]), "_far": np.array([-(2**62)])}
    constants |= {"_axis_1": np.array([1]), "_axis_-1": np.array([-1])}
    constants["_noise"] = np.array([0, 1e-5, 0, 0, 0, 0], np.float32)
    constants["_thousand"] = np.array(1000.0, np.float32)
    proto.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    nodes = [copy.deepcopy(node) for node in proto.graph.node]
    (at,) = (number for number, node in enumerate(nodes) if node.op_type in ("ArgMax", "ArgMin"))
    first, last = fault(nodes[at])
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:at], *first, nodes[at], *last, *nodes[at + 1 :]])
    onnx.checker.check_model(proto)
    with pytest.raises(ParityError, match="places"):
        prove(model, None, proto.SerializeToString(), progress=False, reference=reference)
