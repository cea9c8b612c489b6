"""States in trees and in attributes become named inputs and outputs. Other structures are refused with their path."""

import collections
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Integers, Publication, StateTree, UnsupportedModule, WrongArguments, publish
from rnnserve.export.description.described_model import describe_model, evaluating
from rnnserve.protos import manifest_pb2

ZEROS, RECORDED = manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED

X = Floats("batch", 3)

Pair = collections.namedtuple("Pair", "h c")


@dataclasses.dataclass
class Held:
    h: torch.Tensor
    c: torch.Tensor


def described(module, *, inputs=None, outputs=("y", "state_n"), states=None, **more):
    inputs = {"x": X, "state": StateTree()} if inputs is None else inputs
    states = {"state_n": "state"} if states is None else states
    return describe_model(Publication(module.eval(), "m", inputs, list(outputs), states, **more))


def interface(model):
    """Names and sizes of the states, and what continues as what."""
    states = {t.name: [a.size for a in t.axes] for t in model.inputs if t.default != manifest_pb2.DEFAULT_REQUIRED}
    return states, {t.name: t.continues_as for t in model.outputs if t.continues_as}


class Stepped(nn.Module):
    """A step whose states are h (batch, 3) and c (batch, 1, 3), in any container."""

    def __init__(self, make, *, first=0.0):
        super().__init__()
        self.make = make
        self.first = first

    def begin(self, rows):
        return self.make(torch.full((rows, 3), self.first), torch.zeros(rows, 1, 3))

    def parts(self, state):
        if isinstance(state, dict):
            state = list(state.values()) if "c" not in state else [state["h"], state["c"]]
        if isinstance(state, Held):
            state = [state.h, state.c]
        return state

    def forward(self, x, state):
        h, c = self.parts(state)
        h = 0.5 * h + x
        c = c + h.unsqueeze(1)
        return h + c[:, 0], self.make(h, c)


KINDS = {
    "tuple": (lambda h, c: (h, c), ("0", "1")),
    "list": (lambda h, c: [h, c], ("0", "1")),
    "named tuple": (Pair, ("h", "c")),
    "dict": (lambda h, c: {"h": h, "c": c}, ("h", "c")),
    "dict with numbers": (lambda h, c: {0: h, 1: c}, ("0", "1")),
    "ordered dict": (lambda h, c: collections.OrderedDict(h=h, c=c), ("h", "c")),
    "dataclass": (Held, ("h", "c")),
}


@pytest.mark.parametrize(("make", "keys"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("first", [0.0, -math.inf])
def test_state_in_a_container_becomes_named_tensors(make, keys, first):
    module = Stepped(make, first=first)
    model = described(module, inputs={"x": X, "state": StateTree(module.begin)})
    h, c = (f"state.{key}" for key in keys)
    assert interface(model) == (
        {h: [-1, 3], c: [-1, 1, 3]},
        {f"state_n.{keys[0]}": h, f"state_n.{keys[1]}": c},
    )
    assert [t.default for t in model.inputs[1:]] == [RECORDED if first else ZEROS, ZEROS]
    arrays = {"x": np.ones((2, 3)), h: np.full((2, 3), 2), c: np.ones((2, 1, 3))}
    results = model.module.run({name: array.astype(np.float32) for name, array in arrays.items()})
    np.testing.assert_array_equal(results["y"], np.full((2, 3), 5.0))
    np.testing.assert_array_equal(results[f"state_n.{keys[1]}"], np.full((2, 1, 3), 3.0))


class Swapped(Stepped):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y * 2, {"c": state["c"], "h": state["h"]}, y


def test_state_keeps_its_position_and_may_reorder_its_keys():
    module = Swapped(KINDS["dict"][0])
    inputs = {"x": X, "state": StateTree(module.begin)}
    with pytest.raises(
        WrongArguments, match=r"forward returns \(Tensor, \{c: Tensor, h: Tensor\}, Tensor\)\. .* in this"
    ):
        described(module, inputs=inputs, outputs=["state_n", "double", "y"])
    model = described(module, inputs=inputs, outputs=["double", "state_n", "y"])
    arrays = {"x": np.ones((2, 3)), "state.h": np.full((2, 3), 2), "state.c": np.ones((2, 1, 3))}
    results = model.module.run({name: array.astype(np.float32) for name, array in arrays.items()})
    found = {name: array.ravel()[0] for name, array in results.items()}
    assert found == {"double": 10, "state_n.h": 2, "state_n.c": 3, "y": 5}


class Optional(Stepped):
    def forward(self, x, state=None):
        return super().forward(x, self.begin(x.size(0)) if state is None else state)


def test_state_that_forward_creates_needs_no_example():
    for first in (0.0, 2.0):
        model = described(Optional(KINDS["dict"][0], first=first))
        assert interface(model)[0] == {"state.h": [-1, 3], "state.c": [-1, 1, 3]}
        assert model.inputs[1].default == (RECORDED if first else ZEROS)
    with pytest.raises(WrongArguments, match=r"forward without state.h, state.c returns other results"):
        described(
            Optional(KINDS["dict"][0], first=2.0), inputs={"x": X, "state": StateTree(Stepped(KINDS["dict"][0]).begin)}
        )
    with pytest.raises(WrongArguments, match=r'forward needs "state": give a function'):
        described(Stepped(KINDS["dict"][0]))


class Counting(nn.Module):
    def forward(self, x, state):
        return x + state["position"].unsqueeze(1), {"name": state["name"], "position": state["position"] + 1}


def test_integers_and_constants_in_a_state_tree_are_described():
    def example(rows):
        return {"position": torch.full((rows,), 3), "name": "encoder"}

    tree = StateTree(example, integers={"pos*": (0, 512)})
    model = described(Counting(), inputs={"x": X, "state": tree})
    assert interface(model)[0] == {"state.position": [-1]}
    assert (model.inputs[1].integers.low, model.inputs[1].integers.high) == (0, 512)
    assert model.defaults["state.position"].tolist() == [3]
    with pytest.raises(WrongArguments, match="expected values from 0 to below 2"):
        described(Counting(), inputs={"x": X, "state": StateTree(example, integers={"position": (0, 2)})})


def growing(x, state):
    return x, torch.cat([state, x.unsqueeze(1)], 1)


def counted(x, state):
    return x, {"h": state["h"] + x, "n": state["n"] + 1}


def zeros(rows):
    return torch.zeros(rows, 3)


REFUSED = {
    "grows": (growing, lambda rows: torch.zeros(rows, 2, 3), r'"state" grows from \[2, 2, 3\] before a call'),
    "python int": (counted, lambda rows: {"h": zeros(rows), "n": 0}, '"state.n" is 0 before .* and 1 after'),
    "no rows": (counted, lambda rows: {"h": zeros(rows), "n": torch.zeros(1)}, '"state.n" has no batch axis'),
    "other rows": (
        lambda x, state: (x, state + x),
        lambda n: zeros(n) + torch.arange(n)[:, None],
        "different values in each",
    ),
    "other dtype": (lambda x, state: (x, (state + x).double()), zeros, "float32 before a call and torch.float64"),
    "elsewhere": (
        lambda x, state: (x, [state["h"]]),
        lambda rows: {"h": zeros(rows)},
        '"state.h" is a tensor before a call, but not after',
    ),
    "one more": (lambda x, state: (x, [state[0], x]), lambda rows: [zeros(rows)], '"state.1" is .* but not before'),
    "an object": (lambda x, state: (x, object()), lambda _: object(), "in tuples, lists, dicts and dataclasses"),
    "none": (counted, lambda rows: {"h": zeros(rows), "n": None}, '"state.n" has no values: give the state'),
    "no values": (lambda x, state: (x, state), lambda rows: torch.zeros(0, rows), '"state" has no values'),
}


class Using(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, state):
        return self.function(x, state)


def test_state_example_must_be_a_function():
    with pytest.raises(
        WrongArguments, match=r"StateTree got a Tensor; give a function .* StateTree\(module.init_state"
    ):
        StateTree(zeros(1))


@pytest.mark.parametrize(("function", "example", "said"), REFUSED.values(), ids=REFUSED)
def test_invalid_state_is_refused_with_its_path(function, example, said):
    with pytest.raises(WrongArguments, match=said):
        described(Using(function), inputs={"x": X, "state": StateTree(example)})


class Attributes(nn.Module):
    """Has attributes of every kind: None at first, a tuple, a buffer, a dict, one of a submodule, and a late one."""

    window: torch.Tensor

    def __init__(self):
        super().__init__()
        self.h: Any = None
        self.hidden: Any = None
        self.register_buffer("window", torch.zeros(1, 4, 3), persistent=False)
        self.cache: Any = {"n": None}
        self.inner: Any = nn.Identity()
        self.inner.mem = torch.ones(1, 3)

    def forward(self, x):
        self.h = x + (0 if self.h is None else self.h)
        h, c = self.hidden if self.hidden is not None else (torch.zeros_like(x), torch.zeros_like(x))
        self.hidden = (h + x, c * 0.5 + h)
        window = self.window.expand(x.size(0), -1, -1).roll(-1, 1).clone()
        window[:, -1] = x
        self.window = window
        if self.cache["n"] is None:
            self.cache["n"] = torch.zeros(x.size(0), dtype=torch.int64)
        self.cache["n"] += 1
        self.inner.mem = self.inner.mem * 0.5 + x
        self.late = getattr(self, "late", torch.zeros_like(x)) + x
        return self.h + self.hidden[1] + self.window.sum(1) + self.cache["n"].unsqueeze(1) + self.inner.mem + self.late


PATHS = ["h", "hidden", "window", "cache", "inner.mem", "late"]


def test_attributes_become_inputs_and_outputs_and_the_module_is_left_as_it_was():
    module = Attributes().eval()
    model = described(module, inputs={"x": X}, outputs=["y"], states={}, state_attributes=PATHS)
    names = ["h", "hidden.0", "hidden.1", "window", "cache.n", "inner.mem", "late"]
    finals = ["h_n", "hidden_n.0", "hidden_n.1", "window_n", "cache_n.n", "inner.mem_n", "late_n"]
    assert interface(model)[1] == dict(zip(finals, names, strict=True))
    assert interface(model)[0]["window"] == [-1, 4, 3]
    assert {t.name: t.default for t in model.inputs[1:]} == dict.fromkeys(names, ZEROS) | {"inner.mem": RECORDED}
    reference, x = Attributes().eval(), [torch.randn(2, 3) for _ in range(5)]
    states = {}
    with evaluating(model.module):
        for step in x:
            found = model.module.run({"x": step.numpy(), **states})
            np.testing.assert_allclose(found["y"], reference(step).numpy(), rtol=1e-6)
            states = {name: found[final] for final, name in zip(finals, names, strict=True)}
    assert (module.h, module.hidden, module.cache, hasattr(module, "late")) == (None, None, {"n": None}, False)
    assert (module.window.shape, module.inner.mem.tolist()) == ((1, 4, 3), [[1, 1, 1]])
    assert set(dict(module.named_buffers())) == {"window"}


class MadeTogether(nn.Module):
    """Makes both of its states if the first is missing, and cannot run if only the second is missing."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.h: Any = None
        self.c: Any = None

    def forward(self, x):
        if self.h is None:
            self.h, self.c = x.new_zeros(x.size(0), 4), x.new_ones(x.size(0), 4)
        self.h, self.c = self.cell(x, (self.h * 1, self.c * 1))
        return self.h


def test_attributes_that_forward_makes_together_have_defaults():
    model = described(MadeTogether().eval(), inputs={"x": X}, outputs=["y"], states={}, state_attributes=["h", "c"])
    assert {tensor.name: tensor.default for tensor in model.inputs[1:]} == {"h": ZEROS, "c": RECORDED}
    assert model.defaults["c"].tolist() == [[1, 1, 1, 1]]


class OneRow(nn.Module):
    """Keeps its state for one row in an attribute, as BeatNet does."""

    def __init__(self, first):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.hidden = torch.full((1, 1, 4), first)

    def forward(self, x):
        y, self.hidden = self.gru(x, self.hidden)
        return y


@pytest.mark.parametrize("first", [0.0, 0.5])
def test_attribute_of_one_row_is_the_initial_state_of_each_row(first):
    inputs: dict[str, Any] = {"x": Floats("batch", "sequence", 3)}
    hidden = Floats(("layers", 1), "batch", ("hidden", 4))
    model = described(OneRow(first), inputs=inputs, outputs=["y"], states={}, state_attributes={"hidden": hidden})
    assert interface(model) == ({"hidden": [1, -1, 4]}, {"hidden_n": "hidden"})
    assert [axis.name for axis in model.outputs[1].axes] == ["layers", "batch", "hidden"]
    assert model.inputs[1].default == (RECORDED if first else ZEROS)
    assert model.defaults.get("hidden", np.zeros(1)).max() == first
    with pytest.raises(WrongArguments, match=r'Expected hidden size .* name its axes: .*"hidden": Floats\('):
        described(OneRow(first), inputs=inputs, outputs=["y"], states={}, state_attributes=["hidden"])


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ("h", r'state_attributes is a text, "h"; expected a list'),
        (["cell.mem"], r'names "cell.mem", but the module has no "cell"'),
        (["inner"], r'names "inner", which is a Identity'),
        (["training"], r'"training" is a bool after a call, in which there is no tensor'),
        ({"h": Floats(3, 4)}, r'\["h"\] has no axis "batch"'),
        ({"h": Floats("batch", 4)}, r'\["h"\] describes float32 \[.batch., 4\]; forward writes float32 \[.batch., 3\]'),
        ({"hidden": Floats("batch", 3)}, r'"hidden" holds a tree of tensors. Describe it with StateTree'),
        ({"cache": Integers("batch", high=9)}, r'"cache" holds a tree of tensors'),
    ],
)
def test_invalid_state_attributes_are_refused(attributes, said):
    with pytest.raises(WrongArguments, match=said):
        described(Attributes(), inputs={"x": X}, outputs=["y"], states={}, state_attributes=attributes)


class Cached(nn.Module):
    """Attention of one step, or several, over all before it."""

    def forward(self, x, cache):
        cache = torch.cat([cache, x], dim=1)
        return torch.softmax(x @ cache.transpose(1, 2), -1) @ cache, cache


@pytest.mark.parametrize(
    ("error", "steps", "states", "match"),
    [
        (
            WrongArguments,
            ("now", 1),
            {"cache_n": "cache"},
            r'axis 1 is not as large as the input\'s, "past". A state must keep its size',
        ),
        (UnsupportedModule, "sequence", {}, 'as large as "sequence" and "past" together, like a cache that grows'),
    ],
)
def test_growing_cache_is_refused(tmp_path, error, steps, states, match):
    inputs = {"x": Floats("batch", steps, 4), "cache": Floats("batch", "past", 4)}
    cached = Publication(Cached(), "cached", inputs, ["y", "cache_n"], states)
    with pytest.raises(error, match=match):
        publish(cached, repository=tmp_path, progress=False)
