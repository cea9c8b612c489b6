"""Loops over steps in the user's own code become scans: in many spellings, against eager at sizes unlike the sample."""

import ast
import collections
import copy
import types
from typing import Any

import pytest
import torch
from torch import nn

import kit.grown_loops
import kit.listed_loops
import kit.numbered_loops
import kit.rebound_loops  # noqa: F401 - which add loops
from kit.looped_modules import LOOPS, Looped
from kit.scanned_modules import module_of
from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.module_functions import functions_of
from rnnserve.export.recurrence.loops.functions import loops_captured, rewritten_functions
from rnnserve.export.recurrence.loops.names import read_before_written, stored

NAMES = list(LOOPS)
SIZES = [(1, 1), (2, 2), (5, 3), (1, 7), (3, 40)]
"""(batch, sequence)"""


@pytest.fixture(scope="module")
def rewritten():
    """The code of every loop in its captured form."""
    return dict(rewritten_functions(Looped(NAMES)))


# An export of one loop takes 2 s, and one of nine of them 5 s.
@pytest.mark.parametrize("group", range(3))
def test_loops_equal_eager_at_other_sizes(exported, group):
    torch.manual_seed(group)
    module = Looped(NAMES[group::3])
    result = exported(module, (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for batch, sequence in SIZES:
        result.agrees(torch.randn(batch, sequence, 3), limit=3e-5 if sequence > 7 else 3e-6)
    assert result.operators.count("Scan") >= len(module.names)


@pytest.mark.parametrize("name", NAMES)
def test_rewritten_functions_compute_the_same_in_eager(rewritten, name):
    torch.manual_seed(0)
    module = Looped([name])
    before = LOOPS[name]
    after = types.FunctionType(rewritten[before], before.__globals__, closure=before.__closure__)
    for sizes in SIZES:
        x = torch.randn(*sizes, 3)
        expected, found = (torch.utils._pytree.tree_leaves(each(module, x.clone())) for each in (before, after))
        assert len(expected) == len(found)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def leaves(self, x):
    h = x[:, 0]
    for t in range(x.size(1)):
        h = torch.tanh(h + x[:, t])
        if t > 0:
            break
    return h


def returns(self, x):
    h = x[:, 0]
    for x_t in x.unbind(1):
        h = torch.tanh(h + x_t)
        if self.training is False:
            return h
    return h


def by_value(self, x):
    h = x[:, 0]
    for x_t in x.unbind(1):
        if h.sum() > 0:
            h = h + x_t
    return h


def until_then(self, x):
    outputs = []
    for t in range(x.size(1)):
        total = x[:, :t].sum(1)
        outputs.append(total)
    return torch.stack(outputs, 1)


def another_module(self, x):
    h = x[:, 0]
    for t in range(x.size(1)):
        h = self.layers[t](h)
    return h


def last_step(self, x):
    h = x[:, 0]
    for t in range(x.size(1)):
        h = h * 2 if t == x.size(1) - 1 else h + x[:, t]
    return h


def grows(self, x):
    h = x[:, :1]
    for t in range(x.size(1)):
        h = torch.cat([h, x[:, t : t + 1] + h.mean(1, keepdim=True)], 1)
    return h


def writes_to_its_step(self, x):
    h = x[:, 0]
    for x_t in x.clone().unbind(1):
        x_t += 1
        h = h + x_t
    return h


def one_tensor(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), []
    for x_t in x.unbind(1):
        h += x_t
        outputs.append(h)
    return torch.stack(outputs, 1)


def counts(self, x):
    calls, h = iter(range(1000)), x[:, 0]
    for x_t in x.unbind(1):
        h = h * 0.5 + x_t * next(calls)
    return h


def sets_only_some(self, x):
    outputs: list[Any] = [None] * x.size(1)
    for t in range(1, x.size(1)):
        outputs[t] = x[:, t]
    return torch.stack(outputs[1:], 1)


def reads_what_was_set(self, x):
    steps = list(x.unbind(1))
    for t in range(1, x.size(1)):
        steps[t] = steps[t] + steps[t - 1]
    return torch.stack(steps, 1)


def reads_all_and_sets(self, x):
    steps = list(x.unbind(1))
    for t in range(x.size(1)):
        steps[t] = torch.stack(steps, 1).sum(1)
    return torch.stack(steps, 1)


def reads_all_within(self, x):
    steps, h = list(x.unbind(1)), x[:, 0]
    for t in range(x.size(1)):
        for step in steps:
            h = torch.tanh(h + step)
        steps[t] = h
    return h


def maps(self, x):
    h = x[:, :1].expand(-1, 2, -1)
    for x_t in x.unbind(1):
        h = torch.vmap(lambda w, each: each * w, in_dims=(0, 1), out_dims=1)(self.weights, h) + x_t.unsqueeze(1)
    return h


def grows_a_deque(self, x):
    last, outputs = collections.deque(maxlen=3), []
    for x_t in x.unbind(1):
        last.append(x_t)
        outputs.append(sum(last))
    return torch.stack(outputs, 1)


def of_another_function(self, x):
    outputs = made_elsewhere()
    for x_t in x.unbind(1):
        outputs.append(x_t)
    return torch.stack(outputs, 1)


def made_elsewhere():
    return []


WRITTEN = {
    "break": leaves,
    "a condition on values": by_value,
    "a slice up to the step": until_then,
    "the last step": last_step,
    "a write to a part": writes_to_its_step,
    "a list of another function": of_another_function,
}
"""Loops that are exported in another form."""


# An export of one takes 2 s, and one of all of them 4 s.
def test_written_in_another_form(exported):
    torch.manual_seed(0)

    class All(nn.Module):
        def forward(self, x):
            return [each(self, x) for each in WRITTEN.values()]

    with pytest.warns(UserWarning, match=r"the function at test_loops.py:\d+ has a loop that is exported") as told:
        result = exported(All(), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    assert len([each for each in told if "test_loops.py" in str(each.message)]) == len(WRITTEN)
    for batch, sequence in SIZES:
        for sign in (1, -1):
            result.agrees(sign * torch.randn(batch, sequence, 3).abs(), limit=3e-5)


REFUSED = {
    "return": (returns, r"line \d+ leaves it with `return`"),
    "a list of modules": (another_module, r"plain number is made of the number of the step"),
    "a state that grows": (
        grows,
        r"`h` is a tensor .* before a step, and a tensor .* keeps its size .* keep a window",
    ),
    "a deque that grows": (grows_a_deque, r"how many items the deque `last` has.*deque\(\[x\.new_zeros.*maxlen=n\)"),
    "one tensor in a list": (one_tensor, r"`outputs` that the next step writes to"),
    "a count of calls": (counts, r"computes something else when it is run again"),
    "an item that was set": (reads_what_was_set, r"reads one that a step before it has set.* h_before = h"),
    "all items while they are set": (reads_all_and_sets, r"reads the list as a whole, too"),
    "all items in a loop in a loop": (reads_all_within, r"reads the list as a whole, too"),
    "vmap": (maps, r"torch\.vmap within a loop over steps .*einsum"),
    "some items of a list": (sets_only_some, r"set in another way than one in each step"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_line(case):
    forward, message = REFUSED[case]
    module = module_of(
        forward, layers=nn.ModuleList([nn.Linear(3, 3) for _ in range(9)]), weights=nn.Parameter(torch.randn(2, 3))
    )
    before = forward.__code__
    with pytest.raises(UnsupportedModule, match=message) as refused:
        export_onnx(
            module,
            (torch.randn(3, 4, 3),),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: "batch", 1: "sequence"},),
        )
    assert "test_loops.py:" in str(refused.value)
    assert forward.__code__ is before
    assert torch._C._len_torch_function_stack() == 0


def repeated(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    outputs: list[torch.Tensor] = []
    for t in range(x.size(1)):
        h = torch.tanh(x[:, t] + 0.5 * h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def gated(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * repeated(x, x[:, 0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_loops_of_scripted_functions(exported, monkeypatch):
    """As several packages have their recurrences: compiled for speed, and called by a module of Python."""
    for function in (repeated, gated):
        monkeypatch.setitem(globals(), function.__name__, torch.jit.script(function))

    class Module(nn.Module):
        gate = staticmethod(gated)

        def forward(self, x):
            return repeated(x, x.new_zeros(x.size(0), 3)), self.gate(x)

    result = exported(Module(), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for sizes in SIZES:
        result.agrees(torch.randn(*sizes, 3))
    assert result.operators.count("Scan") == 2


def test_other_code_runs_in_the_context_only():
    module = Looped(NAMES[:1])
    functions = rewritten_functions(module)
    before = {function: function.__code__ for function, _ in functions}
    assert LOOPS[NAMES[0]] in before
    with loops_captured(functions):
        assert all(function.__code__ is code for function, code in functions)
    assert all(function.__code__ is code for function, code in before.items())


def test_functions_of_a_module_are_the_users():
    module = Looped(NAMES)
    found = functions_of(module)
    assert Looped.forward in found
    assert LOOPS[NAMES[0]] in found
    assert not [each for each in found if "torch" in each.__module__.split(".")]


class Copying(nn.Module):
    """Names a module of Python's library, from which all of sympy can be reached once torch has loaded it."""

    def forward(self, x):
        return copy.deepcopy(x)


def test_code_that_a_capture_itself_runs_is_not_the_users():
    assert {each.__module__ for each in functions_of(Copying())} == {__name__}


@pytest.mark.parametrize(
    ("statements", "reads", "writes"),
    [
        ("a = b", "b", "a"),
        ("a = a + 1", "a", "a"),
        ("a += b", "a b", "a"),
        ("a, (b, *c) = d", "d", "a b c"),
        ("a.b = c", "a c", ""),
        ("a[b] = c", "a b c", ""),
        ("a = 1\nb = a", "", "a b"),
        ("if c:\n a = 1\nb = a", "a c", "a b"),
        ("if c:\n a = 1\nelse:\n a = 2\nb = a", "c", "a b"),
        ("if c:\n a = 1\nelse:\n raise d\nb = a", "c d", "a b"),
        ("for a in b:\n c = a\nd = c", "b c", "a c d"),
        ("while a:\n b = a\nc = b", "a b", "b c"),
        ("with a as b:\n c = b", "a", "b c"),
        ("try:\n a = b\nexcept E as e:\n c = a", "E a b", "a c e"),
        ("def f(x):\n return x + y\na = f(b)", "b x y", "a f"),
        ("a = [x * y for x in b]", "b x y", "a"),
        ("(a := b) + a", "a b", "a"),
        ("import m\nm.f(a)", "a", "m"),
        ("a: int\na", "a", "a"),
    ],
)
def test_names_that_are_read_first_and_written(statements, reads, writes):
    tree = ast.parse(statements).body
    assert read_before_written(tree) == set(reads.split())
    assert stored(tree) == set(writes.split())
