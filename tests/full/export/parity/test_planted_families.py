"""Families of faults that usual values do not show, planted in ONNX models: extreme batches catch each."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from rnnserve.export import Floats, Integers, Publication
from rnnserve.export.description.described_model import describe_model, evaluating
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import ParityError, verify_parity
from rnnserve.export.parity.verification import reference_of
from rnnserve.export.recurrent_guard import guard_recurrences


class FrontEnd(nn.Module):
    """A function of each step, a GRU, and a head."""

    def __init__(self, compute):
        super().__init__()
        self.compute = compute
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.gru(self.compute(x))[0])


class RunningSum(nn.Module):
    """The logarithm of a running sum of exponentials, and the best feature of each step."""

    def forward(self, x):
        largest = x.amax(1, keepdim=True)
        summed = largest + (x - largest).exp().cumsum(1).clamp(min=1e-30).log()
        return summed, x.argmax(-1)


class Words(nn.Module):
    """Ids of a large vocabulary, and a learned initial state."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5000, 4)
        self.h_0 = nn.Parameter(torch.randn(1, 1, 6))
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, tokens):
        h_0 = self.h_0.expand(-1, tokens.size(0), -1).contiguous()
        return self.gru(self.embedding(tokens), h_0)[0]


def normalized(x):
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.pow(2).mean(-1, True).sqrt() + 1e-3)


MEL = {"x": Floats("batch", "sequence", ("mel", 4), low=0.0, high=10.0)}
USUAL = {"x": Floats("batch", "sequence", ("features", 4))}
MODULES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], list[str]]] = {
    "logarithm": (lambda: FrontEnd(lambda x: torch.log(x + 1e-6)), MEL, ["y"]),
    "deviation": (lambda: FrontEnd(normalized), USUAL, ["y"]),
    "written_input": (lambda: FrontEnd(lambda x: x.clamp_(-1, 1)), USUAL, ["y"]),
    "sum": (RunningSum, USUAL, ["y", "best"]),
    "words": (Words, {"tokens": Integers("batch", "sequence", high=5000)}, ["y"]),
}


@functools.cache
def exported(name):
    """The described module, its ONNX model, and a reference that computes each batch once."""
    make, inputs, outputs = MODULES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = describe_model(Publication(make(), name, inputs, outputs))
    with evaluating(model.module):
        return model, to_onnx(model), reference_of(model)


def verify(name, data):
    model, _, reference = exported(name)
    return verify_parity(model, None, data, progress=False, reference=reference).parity


def caught(name, plant):
    changed = onnx.load_model_from_string(exported(name)[1])
    plant(changed)
    # As the exporter does last: recurrences are guarded against the values that the changed graph can give.
    with pytest.raises(ParityError) as raised:
        verify(name, guard_recurrences(changed.SerializeToString()))
    return str(raised.value)


def set_constants(model, before, after):
    """Change constants of one number."""
    changed = 0
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and array.dtype.kind == "f" and np.isclose(array, before, rtol=1e-3).all():
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, after), tensor.name))
            changed += 1
    assert changed


def only(model, op_type):
    (node,) = (node for node in model.graph.node if node.op_type == op_type)
    return node


@pytest.mark.parametrize("name", MODULES)
def test_model_as_exported_passes(name):
    parity = verify(name, exported(name)[1])
    assert not parity.non_finite
    assert parity.drawn


@pytest.mark.parametrize(
    ("name", "epsilon", "kinds"),
    [("logarithm", 1e-6, ("zeros", "silence", "ends")), ("deviation", 1e-3, ("zeros", "constant", "silence"))],
)
def test_erased_epsilon_is_caught(name, epsilon, kinds):
    message = caught(name, lambda model: set_constants(model, epsilon, 0.0))
    for kind in kinds:
        assert f'onnx, {kind}: "y" at' in message
    assert "is nan, but eager returns" in message


def test_overflow_of_loud_values_is_caught():
    """exp(x) without the largest value subtracted is infinite from 89 on."""

    def plant(model):
        difference = next(n for n in model.graph.node if n.output[0] == only(model, "Exp").input[0])
        add = next(n for n in model.graph.node if n.op_type == "Add" and difference.input[1] in n.input)
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
        add.input[list(add.input).index(difference.input[1])] = "zero"
        difference.input[1] = "zero"

    message = caught("sum", plant)
    assert 'onnx, louder: "y" at' in message
    assert 'onnx, random: "y"' not in message


def test_error_that_begins_after_1500_steps_is_caught():
    def plant(model):
        node = only(model, "CumSum")
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array([value], np.int64), name)
            for name, value in (("zero_at", 0), ("late_from", 1500), ("far", 2**40), ("axis", 1))
        )
        source, result = node.output[0], node.output[0] + "_late"
        for user in model.graph.node:
            user.input[:] = [result if name == source else name for name in user.input]
        at = list(model.graph.node).index(node)
        late = [
            helper.make_node("Slice", [source, "zero_at", "late_from", "axis"], ["early"]),
            helper.make_node("Slice", [source, "late_from", "far", "axis"], ["later"]),
            helper.make_node("Add", ["later", "later"], ["wrong"]),  # of whatever dtype
            helper.make_node("Concat", ["early", "wrong"], [result], axis=1),
        ]
        for offset, made in enumerate(late):
            model.graph.node.insert(at + 1 + offset, made)

    message = caught("sum", plant)
    assert message.startswith('onnx, long: "y" at sequence 3000')
    assert len(message.splitlines()) == 1


def test_single_wrong_row_of_an_embedding_is_detected():
    def plant(model):
        (table,) = (tensor for tensor in model.graph.initializer if list(tensor.dims) == [5000, 4])
        array = numpy_helper.to_array(table).copy()
        array[4999, 0] += 0.01
        table.CopyFrom(numpy_helper.from_array(array, table.name))

    assert 'onnx, ids: "y" at sequence' in caught("words", plant)


def test_learned_state_replaced_by_zeros_is_detected():
    def plant(model):
        node = only(model, "GRU")
        assert node.input[5]
        del node.input[5:]

    assert 'onnx, step: "y"' in caught("words", plant)


def test_ties_resolved_differently_are_detected():
    def plant(model):
        node = only(model, "ArgMax")
        kept = [attribute for attribute in node.attribute if attribute.name != "select_last_index"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("select_last_index", 1)])

    message = caught("sum", plant)
    assert "onnx, ties, integers" in message
    assert "onnx, random" not in message


class Logarithm(nn.Module):
    """Gives minus infinity for zero, and NaN below."""

    def forward(self, x):
        return (x * x).log(), x.sqrt()


def test_positions_of_allowed_non_finite_values_are_compared():
    model = describe_model(Publication(Logarithm(), "l", USUAL, ["log", "root"], allow_non_finite=True))
    data = to_onnx(model)
    parity = verify_parity(model, None, data, progress=False).parity
    assert 'zeros: eager itself returns NaN or infinity in "log"; the first ones come from log' in parity.non_finite
    assert "not finite: NaN and infinity" in parity.drawn
    changed = onnx.load_model_from_string(data)
    root = only(changed, "Sqrt")
    at = list(changed.graph.node).index(root)
    changed.graph.node.insert(at, helper.make_node("Abs", [root.input[0]], ["positive"]))
    root.input[0] = "positive"
    with pytest.raises(ParityError, match=r'onnx, random: "root" at .* is 0\.\d+, but eager returns nan'):
        verify_parity(model, None, changed.SerializeToString(), progress=False)


def test_non_finite_results_within_described_bounds_are_refused_unless_allowed():
    # Normal values have no row of zeros: the record only names such rows.
    module = FrontEnd(lambda x: x / x.abs().amax(-1, keepdim=True))
    model = describe_model(Publication(module, "l", USUAL, ["y"]))
    parity = verify_parity(model, None, to_onnx(model), progress=False).parity
    assert {line.split(":")[0] for line in parity.non_finite} >= {"zeros", "silence"}
    bounded = describe_model(Publication(module, "l", MEL, ["y"]))
    with pytest.raises(ParityError, match=r"eager, zeros: eager itself returns NaN .* first appear in div \(test_"):
        verify_parity(bounded, None, to_onnx(bounded), progress=False)
    allowed = dataclasses.replace(bounded, allow_non_finite=True)
    assert verify_parity(allowed, None, to_onnx(allowed), progress=False).parity.non_finite
