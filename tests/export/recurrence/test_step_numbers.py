"""Numbers of steps, what loops run over, and what they carry, without a module: as plain numbers and lists would be."""

import operator

import pytest
import torch
from torch.utils import _pytree

from rnnserve.export import UnsupportedModule
from rnnserve.export.recurrence.loops.carried import Carried, Unfit, flattened
from rnnserve.export.recurrence.loops.memory import MISSING, Place
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_number import as_tensors
from rnnserve.export.recurrence.loops.steps import RangeSteps, TensorSteps, ZippedSteps, part_of, reversed_steps


class Refused(Exception):
    """What the loop below refuses."""


class Loop:
    """A loop of seven steps in its step number 2."""

    count, first, now = 7, 0, 2

    def __init__(self):
        self.is_first_apart = False

    def step_tensor(self):
        return torch.tensor(self.now)

    def run_first_step_apart(self):
        self.is_first_apart = True

    def refuse(self, reason):
        raise Refused(reason)


PLACE = Place({}, "h", "h")


@pytest.fixture
def loop():
    return Loop()


def value_of(result):
    return as_tensors(result)


OPERATORS = ["add", "sub", "mul", "mod", "floordiv", "truediv", "pow", "eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("swapped", [False, True], ids=["left", "right"])
@pytest.mark.parametrize(
    "other", [3, torch.tensor([1, 2, 5]), "t", "2 * t + 1"], ids=["int", "tensor", "same", "other"]
)
def test_arithmetic_is_that_of_the_number(loop, name, swapped, other):
    t, number = StepIndex(loop, 1, 0), torch.tensor(loop.now)
    others = {"t": (t, number), "2 * t + 1": (t * 2 + 1, number * 2 + 1)}
    symbolic, plain = others[other] if isinstance(other, str) else (other, other)
    function = getattr(operator, name)
    found = function(symbolic, t) if swapped else function(t, symbolic)
    expected = function(plain, number) if swapped else function(number, plain)
    assert torch.equal(torch.as_tensor(value_of(found)), torch.as_tensor(expected))


def test_functions_of_torch_take_it(loop):
    t = StepIndex(loop, 1, 0)
    assert torch.where(t > 1, torch.tensor(5.0), torch.tensor(7.0)) == 5
    assert torch.add(torch.tensor(1), t) == 3  # type: ignore[call-overload]
    assert -t == torch.tensor(-2)
    assert torch.equal(torch.stack([torch.as_tensor(value_of(each)) for each in (5 - t, t - 5)]), torch.tensor([3, -3]))


@pytest.mark.parametrize("use", [int, float, operator.index, hash, range, [0, 1, 2].__getitem__])
def test_it_is_no_plain_number(loop, use):
    with pytest.raises(Refused, match="plain number is made of the number of the step"):
        use(StepIndex(loop, 1, 0))


def test_it_has_no_attributes_of_a_tensor(loop):
    with pytest.raises(AttributeError, match="the number of a step has no attribute shape"):
        StepIndex(loop, 1, 0).shape  # noqa: B018


@pytest.mark.parametrize(
    ("condition", "all_steps", "is_first_apart"),
    [
        (lambda t: t >= 0, True, False),
        (lambda t: t == -1, False, False),
        (lambda t: t < 7, True, False),
        (lambda t: t > 0, False, True),  # in the first step, which is run apart
        (lambda t: t == 0, True, True),
        (lambda t: t != 0, False, True),
        (lambda t: bool(t), False, True),
        (lambda t: 6 - t >= 0, True, False),
        (lambda t: t * 2 <= 12, True, False),
    ],
)
def test_a_condition_that_all_steps_agree_on_is_decided(loop, condition, all_steps, is_first_apart):
    assert bool(condition(StepIndex(loop, 1, 0))) is all_steps
    assert loop.is_first_apart is is_first_apart


@pytest.mark.parametrize("condition", [lambda t: t == 3, lambda t: t > 3, lambda t: t != 6, lambda t: t < 5])
def test_a_condition_that_they_do_not_is_refused(loop, condition):
    with pytest.raises(Refused, match=r"torch.where\(t == \.\.\., one, other\)"):
        bool(condition(StepIndex(loop, 1, 0)))


def tensors():
    return torch.arange(12).view(2, 6), torch.arange(6) * 10


STEPS = {
    "range": lambda: RangeSteps(0, 6, 1),
    "range by two": lambda: RangeSteps(1, 12, 2),
    "range backwards": lambda: RangeSteps(5, -1, -1),
    "range backwards by three": lambda: RangeSteps(11, -4, -3),
    "tensor": lambda: TensorSteps(tensors()[:1], 1),
    "parts of a tensor": lambda: TensorSteps(tensors()[:1], 1, kept=True),
    "pairs": lambda: TensorSteps([tensors()[1], tensors()[1] + 1], 0, _pytree.tree_flatten((0, 0))[1]),
    "zip": lambda: ZippedSteps([RangeSteps(0, 6, 1), TensorSteps(tensors()[:1], 1)]),
}
PARTS = {
    "whole": lambda steps: steps,
    "reversed": reversed_steps,
    "reversed twice": lambda steps: reversed_steps(reversed_steps(steps)),
    "a slice that is reversed": lambda steps: steps[::-1],
}


def leaves(item):
    return [torch.as_tensor(leaf) for leaf in _pytree.tree_leaves(item)]


def same(some, others):
    return all(torch.equal(*pair) for pair in zip(some, others, strict=True))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", STEPS)
def test_each_item_is_a_step_of_the_whole(kind, part):
    steps = PARTS[part](STEPS[kind]())
    whole = leaves(steps.stacked())
    assert {len(tensor) for tensor in whole} == {steps.count}
    for position in range(steps.count):
        for item in (steps[position], steps[position - steps.count]):
            assert same(leaves(item), [tensor[position] for tensor in whole])
    plain = [leaves(STEPS[kind]()[position]) for position in range(steps.count)]
    expected = plain[::-1] if part in ("reversed", "a slice that is reversed") else plain
    found = [leaves(steps[position]) for position in range(steps.count)]
    assert all(map(same, found, expected))


def test_steps_are_no_list_elsewhere():
    steps = RangeSteps(0, 6, 1)
    for use in (iter, len, list):
        with pytest.raises(UnsupportedModule, match="takes the steps of a sequence apart"):
            use(steps)
    with pytest.raises(UnsupportedModule, match=r"sum got the list of a loop's results.*torch.stack"):
        torch.sum(steps)  # type: ignore[call-overload]
    with pytest.raises(UnsupportedModule, match=r"zip got sequences of 6, 5 steps; expected the same number"):
        ZippedSteps([steps, RangeSteps(0, 5, 1)])
    with pytest.raises(UnsupportedModule, match=r"the slice \[None:None:2\] of a list of steps cannot be exported"):
        part_of(steps, slice(None, None, 2))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 4),
        (torch.zeros(2), torch.ones(2)),
        ([torch.zeros(2), {"a": 3, "b": torch.zeros(1)}], [torch.ones(2), {"a": 5, "b": torch.ones(1)}]),
        (("mode", None), ("mode", None)),
    ],
    ids=["a number that counts", "a tensor", "lists and dicts", "what stays"],
)
def test_what_is_carried(loop, before, after):
    carried = Carried.of(PLACE, before, after, loop, is_read=True)
    inside = carried.installed(carried.states)
    for initial, first in zip(flattened(inside)[0], flattened(before)[0], strict=True):
        assert initial is first or initial.at(loop.first) == first
    final = carried.final([state + 1 for state in carried.states], 7)
    for last, first, second in zip(*(flattened(each)[0] for each in (final, before, after)), strict=True):
        if isinstance(first, int):
            assert last == first + 7 * (second - first)
        elif isinstance(first, torch.Tensor):
            assert torch.equal(last, second)
        else:
            assert last == first


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (MISSING, 1, "before the first step, and 1 after it"),
        ((1, 2), [1, 2], "`h` is a tuple before the first step, and a list after it"),
        (torch.zeros(2), 1, r"`h` is a tensor \(2\) before a step, and 1 after it"),
        (torch.zeros(2), torch.zeros(3), r"a tensor \(2\), torch.float32, before a step, and a tensor \(3\)"),
        (torch.zeros(2), torch.zeros(2).double(), r"torch.float32, before a step, and a tensor \(2\), torch.float64"),
        ("left", "right", "`h` is 'left' before a step, and 'right' after it"),
        (True, False, "`h` is True before a step, and False after it"),
        ("a", "b", "`h` is 'a' before a step, and 'b' after it"),
    ],
)
def test_what_no_state_can_hold(loop, before, after, reason):
    with pytest.raises(Unfit, match=reason):
        Carried.of(PLACE, before, after, loop, is_read=True)


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        (lambda inside: [*inside, 1], "a step changes the structure of `h`"),
        (lambda inside: [inside[0] + 2, inside[1]], "`h` is a number that does not count by the same in each step"),
        (lambda inside: [7, inside[1]], "`h` is a number that does not count by the same in each step"),
        (lambda inside: [inside[0] + 1, torch.zeros(5)], r"a tensor \(2\), torch.float32, before a step"),
    ],
)
def test_a_step_after_the_first_that_does_something_else(loop, again, reason):
    carried = Carried.of(PLACE, [3, torch.zeros(2)], [4, torch.ones(2)], loop, is_read=True)
    inside = carried.installed(carried.states)
    assert torch.equal(carried.after([inside[0] + 1, torch.ones(2)])[0], torch.ones(2))
    with pytest.raises(Unfit, match=reason):
        carried.after(again(inside))
