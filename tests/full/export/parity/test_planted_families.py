"""Families of faults that usual values do not show, planted in ONNX models: the proof finds each, and says for what."""

import dataclasses
import functools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from rnnserve.export import Floats, Integers, Publication
from rnnserve.export.description.described_model import describe_model, evaluating
from rnnserve.export.finiteness import guard_recurrences
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, ParityError, prove
from rnnserve.export.parity.proof import reference_of


class FrontEnd(nn.Module):
    """Something computed of each step, a GRU, and a head."""

    def __init__(self, compute):
        super().__init__()
        self.compute = compute
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.gru(self.compute(x))[0])


class RunningSum(nn.Module):
    """The logarithm of a running sum of exponentials; and a clamp, for what saturates."""

    def forward(self, x):
        largest = x.amax(1, keepdim=True)
        return largest + (x - largest).exp().cumsum(1).clamp(min=1e-30).log(), x.clamp(-40, 40)


class Words(nn.Module):
    """Ids of a large vocabulary."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5000, 4)
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, tokens):
        return self.gru(self.embedding(tokens))[0]


class LearnedState(nn.Module):
    """Begins from a state that was trained."""

    def __init__(self):
        super().__init__()
        self.h_0 = nn.Parameter(torch.randn(1, 1, 6))
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, x):
        return self.gru(x, self.h_0.expand(-1, x.size(0), -1).contiguous())[0]


class Best(nn.Module):
    """The best feature of each step: ties are decided by their order."""

    def forward(self, x):
        return x.argmax(-1)


MEL = {"x": Floats("batch", "sequence", ("mel", 4), low=0.0, high=10.0)}
USUAL = {"x": Floats("batch", "sequence", ("features", 4))}


@functools.cache
def exported(name):
    module, inputs, outputs = {
        "logarithm": lambda: (FrontEnd(lambda x: torch.log(x + 1e-6)), MEL, ["y"]),
        "deviation": lambda: (
            FrontEnd(lambda x: (x - x.mean(-1, keepdim=True)) / ((x - x.mean(-1, keepdim=True)).pow(2).mean(-1, True)
                                                                 .sqrt() + 1e-3)), USUAL, ["y"]),
        "root": lambda: (FrontEnd(lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-3)), USUAL, ["y"]),
        "sum": lambda: (RunningSum(), USUAL, ["y", "clamped"]),
        "words": lambda: (Words(), {"tokens": Integers("batch", "sequence", high=5000)}, ["y"]),
        "state": lambda: (LearnedState(), USUAL, ["y"]),
        "best": lambda: (Best(), USUAL, ["best"]),
    }[name]()  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    model = describe_model(Publication(module, name, inputs, outputs))
    return model, to_onnx(model)


@functools.cache
def reference(name):
    """What all proofs of a module are judged by: each batch is computed once."""
    model, _ = exported(name)
    with evaluating(model.module):
        return reference_of(model, keeps=True)


def caught(name, plant) -> str:
    model, data = exported(name)
    changed = onnx.load_model_from_string(data)
    plant(changed)
    # As the exporter does last: recurrences are guarded against what the changed graph can give.
    guarded = guard_recurrences(changed.SerializeToString())
    with pytest.raises(ParityError) as raised:
        prove(model, None, guarded, progress=False, reference=reference(name))
    return str(raised.value)


def set_constants(model, before, after) -> None:
    """Change constants of one number."""
    changed = 0
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and array.dtype.kind == "f" and np.isclose(array, before, rtol=1e-3).all():
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, after), tensor.name))
            changed += 1
    assert changed


@pytest.mark.parametrize("name", ["logarithm", "deviation", "root", "sum", "words", "state", "best"])
def test_what_is_right_passes(name):
    model, data = exported(name)
    parity = prove(model, None, data, progress=False, reference=reference(name)).parity
    assert not parity.non_finite
    assert parity.drawn


@pytest.mark.parametrize(
    ("name", "epsilon", "kinds"),
    [
        ("logarithm", 1e-6, ("zeros", "silence", "ends")),
        ("deviation", 1e-3, ("zeros", "constant", "silence")),
        ("root", 1e-3, ("zeros", "silence")),
    ],
)
def test_an_erased_epsilon(name, epsilon, kinds):
    message = caught(name, lambda model: set_constants(model, epsilon, 0.0))
    for kind in kinds:
        assert f'onnx, {kind}: "y" at' in message
    assert "is nan where eager gives" in message


def test_an_epsilon_that_is_a_little_larger():
    message = caught("logarithm", lambda model: set_constants(model, 1e-6, 1.01e-6))
    assert 'onnx, zeros: "y" at sequence 33: found' in message


def replace(model, operator, nodes) -> None:
    """Put nodes in the place of the only one of an operator; they read "IN" and give "OUT"."""
    (at,) = (at for at, node in enumerate(model.graph.node) if node.op_type == operator)
    old = model.graph.node[at]
    names = {"IN": old.input[0], "OUT": old.output[0]}
    made = [
        helper.make_node(op, [names.get(i, i) for i in inputs], [names.get(o, o) for o in outputs], **more)
        for op, inputs, outputs, more in nodes
    ]
    del model.graph.node[at]
    for offset, node in enumerate(made):
        model.graph.node.insert(at + offset, node)


def test_an_overflow_that_only_loud_values_show():
    """exp(x) without the largest value subtracted before is infinite from 89 on."""

    def plant(model):
        (node,) = (node for node in model.graph.node if node.op_type == "Exp")
        difference = next(n for n in model.graph.node if n.output[0] == node.input[0])
        add = next(n for n in model.graph.node if n.op_type == "Add" and difference.input[1] in n.input)
        zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
        model.graph.initializer.append(zero)
        add.input[list(add.input).index(difference.input[1])] = "zero"
        difference.input[1] = "zero"

    message = caught("sum", plant)
    assert 'onnx, louder: "y" at' in message
    assert 'onnx, random: "y"' not in message


def test_an_error_that_grows_with_the_steps():
    """What is wrong from step 1,000 on alone."""

    def plant(model):
        (node,) = (node for node in model.graph.node if node.op_type == "CumSum")
        model.graph.initializer.extend([
            numpy_helper.from_array(np.array(v, np.int64), n)
            for n, v in (("from", [1500]), ("to", [2**40]), ("axis", [1]), ("zero_at", [0]), ("all", [1500]))
        ])  # fmt: skip
        source, result = node.output[0], node.output[0] + "_late"
        users = [n for n in model.graph.node if source in n.input]
        late = [
            helper.make_node("Slice", [source, "zero_at", "all", "axis"], ["early"]),
            helper.make_node("Slice", [source, "from", "to", "axis"], ["later"]),
            helper.make_node("Add", ["later", "later"], ["wrong"]),  # of whatever dtype
            helper.make_node("Concat", ["early", "wrong"], [result], axis=1),
        ]
        for user in users:
            for at, name in enumerate(user.input):
                if name == source:
                    user.input[at] = result
        at = list(model.graph.node).index(node)
        for offset, made in enumerate(late):
            model.graph.node.insert(at + 1 + offset, made)

    message = caught("sum", plant)
    assert message.startswith('onnx, long: "y" at sequence 3000')
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("rare", [1337, 4999])
def test_one_rare_id_that_is_mistranslated(rare):
    def plant(model):
        (table,) = (t for t in model.graph.initializer if list(t.dims) == [5000, 4])
        array = numpy_helper.to_array(table).copy()
        array[rare, 0] += 0.01
        table.CopyFrom(numpy_helper.from_array(array, table.name))

    assert 'onnx, ids: "y" at sequence' in caught("words", plant)


def test_saturation_that_comes_too_early():
    def plant(model):
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.size == 1 and abs(float(array.reshape(-1)[0])) == 40:
                tensor.CopyFrom(numpy_helper.from_array(array / 2, tensor.name))

    message = caught("sum", plant)
    assert 'onnx, louder: "clamped"' in message
    assert 'onnx, random: "clamped"' not in message


def test_a_learned_state_that_is_taken_for_zeros():
    def plant(model):
        (node,) = (node for node in model.graph.node if node.op_type == "GRU")
        assert node.input[5]
        del node.input[5:]

    assert 'onnx, step: "y"' in caught("state", plant)


def test_ties_that_are_decided_the_other_way():
    def plant(model):
        (node,) = (node for node in model.graph.node if node.op_type == "ArgMax")
        kept = [attribute for attribute in node.attribute if attribute.name != "select_last_index"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("select_last_index", 1)])

    message = caught("best", plant)
    assert "onnx, ties, integers" in message
    assert "onnx, random" not in message


def test_a_recurrence_without_its_guard_hides_nan():
    """Why guards are needed: finite numbers stand in the places of NaN."""
    model, data = exported("deviation")
    changed = onnx.load_model_from_string(data)
    set_constants(changed, 1e-3, 0.0)
    unguarded = changed.SerializeToString()
    zeros = {"x": np.zeros((2, 5, 4), np.float32)}
    assert np.isfinite(OnnxRunner(unguarded)(zeros)["y"]).all()
    assert np.isnan(OnnxRunner(guard_recurrences(unguarded))(zeros)["y"]).all()
    assert guard_recurrences(guard_recurrences(unguarded)) == guard_recurrences(unguarded)
    assert not prove(model, None, data, progress=False).parity.non_finite


class Logarithm(nn.Module):
    """Gives minus infinity for zero, and NaN below."""

    def forward(self, x):
        return (x * x).log(), x.sqrt()


def test_what_the_module_itself_gives_is_compared_by_its_places():
    described = Publication(Logarithm(), "l", USUAL, ["log", "root"], allow_non_finite=True)
    model = describe_model(described)
    data = to_onnx(model)
    parity = prove(model, None, data, progress=False).parity
    assert 'zeros: eager itself gives NaN or infinity in "log", first from log' in parity.non_finite
    assert "not finite: NaN and infinity" in parity.drawn
    changed = onnx.load_model_from_string(data)
    replace(changed, "Sqrt", [("Abs", ["IN"], ["a"], {}), ("Sqrt", ["a"], ["OUT"], {})])
    with pytest.raises(ParityError, match=r'onnx, random: "root" at .* is 0\.\d+ where eager gives nan'):
        prove(model, None, changed.SerializeToString(), progress=False)


def test_extremes_that_are_not_finite_in_eager_are_told_and_those_that_are_described_are_refused():
    # Of normal values no row is all zeros: those alone are told.
    module = FrontEnd(lambda x: x / x.abs().amax(-1, keepdim=True))
    model = describe_model(Publication(module, "l", USUAL, ["y"]))
    parity = prove(model, None, to_onnx(model), progress=False).parity
    assert {line.split(":")[0] for line in parity.non_finite} >= {"zeros", "silence"}
    bounded = describe_model(Publication(module, "l", MEL, ["y"]))
    with pytest.raises(ParityError, match=r"eager, zeros: eager itself gives NaN .* from div \(test_planted_fam"):
        prove(bounded, None, to_onnx(bounded), progress=False)
    told = dataclasses.replace(bounded, allow_non_finite=True)
    assert prove(told, None, to_onnx(told), progress=False).parity.non_finite
