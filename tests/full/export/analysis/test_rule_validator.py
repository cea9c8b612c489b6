"""The rule validator finds wrong rules, and finds none among the analysis's own rules in a short trial."""

import dataclasses

import pytest

from campaigns.rule_validator import try_operator
from rnnserve.export.analysis import computing, decisions, moving
from rnnserve.export.analysis.flow import At, flow
from rnnserve.export.analysis.loops import ScanLoop
from rnnserve.export.analysis.table import RULES
from rnnserve.export.analysis.values import Range

SEEDS = range(40)


def reverses_nothing(node):
    """Slice, as if a step of -1 kept the order."""
    if node.input(4).numbers == [-1] if node.optional(4) is not None else False:
        value = node.input(0)
        return flow(node, value.axes, [(value, moving.same_axes(value))])
    return moving.slice_(node)


def sums_forward(node):
    """CumSum, without its attribute `reverse`."""
    return computing.running_sum(dataclasses.replace(node, attributes={**node.attributes, "reverse": 0}))


def keeps_axes(node):
    """ReduceMax, as if it always kept the axes."""
    value = node.input(0)
    return flow(node, value.axes, [(value, [At(at) for at in range(value.rank)])])


PLANTED = {
    "Softmax": (computing.elementwise, RULES["Softmax"][1]),
    "CumSum": (sums_forward, RULES["CumSum"][1]),
    "Slice": (reverses_nothing, RULES["Slice"][1]),
    "ReduceMax": (keeps_axes, RULES["ReduceMax"][1]),
    "Exp": (RULES["Exp"][0], lambda _: Range(0.0, 3e38)),
    "Tanh": (RULES["Tanh"][0], lambda _: Range(-0.5, 0.5, finite=False)),
}


def stacks_as_if_aligned(loop, value, at, *, aligned):
    """A loop's outputs, as if they always kept the order of the steps."""
    return _STACKED(loop, value, at, aligned=True)


def comes_from_earlier(loop, key, track, held):
    """A state of a loop that runs backward, as if it ran forward."""
    return track


def reads_nothing_around(walk, each, node):
    """A loop's body, as if it read no tensors around it."""
    return ()


_STACKED = ScanLoop._stacked
PLANTED_IN_LOOPS = [
    (ScanLoop, "_stacked", stacks_as_if_aligned),
    (ScanLoop, "_from_later", comes_from_earlier),
    (decisions._StepWalk, "_captured", reads_nothing_around),
]


@pytest.mark.parametrize(("owner", "name", "wrong"), PLANTED_IN_LOOPS)
def test_validator_finds_a_planted_wrong_rule_of_loops(owner, name, wrong, monkeypatch):
    monkeypatch.setattr(owner, name, wrong)
    assert any(try_operator("Scan", "", range(seed, seed + 20)).wrong for seed in range(0, 400, 20))


@pytest.mark.parametrize("operator", PLANTED)
def test_validator_finds_a_planted_wrong_rule(operator, monkeypatch):
    monkeypatch.setitem(RULES, operator, PLANTED[operator])
    assert try_operator(operator, "", SEEDS).wrong


@pytest.mark.parametrize(
    "operator",
    [*PLANTED, "GRU", "Gather", "If", "MatMul", "Scan"],
)
def test_rules_hold_on_random_graphs(operator):
    report = try_operator(operator, "", SEEDS)
    assert report.wrong == []
    assert report.ran > 10
