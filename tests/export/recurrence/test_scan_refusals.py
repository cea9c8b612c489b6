"""What `scan` refuses of a step, what it takes that is near to it, and the code that the refusal of a loop shows."""

import itertools
import re

import pytest
import torch
from torch import nn

from kit.scanned_modules import CELLS, TWO_STATES, module_of
from rnnserve.export import UnsupportedModule, export_onnx, scan


def stepping(step, init=lambda x: x[:, 0], xs=lambda x: x, **options):
    return lambda _, x: scan(step, init(x), xs(x), **{"dim": 1, **options})


def leaks(_, x):
    seen = []

    def step(h, each):
        seen.append(each * 2)
        return h + each, h

    final, outputs = scan(step, x[:, 0], x, dim=1)
    return final + seen[0], outputs


def leaks_within(_, x):
    seen = []

    def inner(h, each):  # each (batch,)
        seen.append(each * 2)
        return h + each, h

    def outer(h, each):  # each (batch, features)
        total, _ = scan(inner, h[:, 0], each, dim=1)
        return h + total[:, None], seen[-1]

    final, outputs = scan(outer, x[:, 0], x, dim=1)
    return final * 2, outputs * 2


def writes(_, x):
    total = torch.zeros(3)

    def step(h, each):
        total.view(3).add_(each.sum(0))
        return h + total, h

    return scan(step, x[:, 0], x, dim=1)


def counts(_, x):
    calls = []

    def step(h, each):
        calls.append(None)
        return h + each * len(calls), h

    return scan(step, x[:, 0], x, dim=1)


def takes_turns(self, x):
    weights = itertools.cycle([self.first, self.second])
    return scan(lambda h, each: (h + each * next(weights), h), x[:, 0], x, dim=1)


def branches(h, x):
    outputs = []
    if h.sum() > 0:
        outputs.append(x)
    return h, torch.stack([x, *outputs])


REFUSED = {
    "broadcast state": (
        stepping(lambda h, x: (h + x, h), lambda _: torch.zeros(1, 3)),
        r"changes the state from.*1, 3",
    ),
    "dtype of the state": (stepping(lambda h, x: (h.double(), x)), r"changes the state.*float32.*float64"),
    "structure of the state": (stepping(lambda h, x: ((h, h), x)), r"structure of the state"),
    "no state at first": (stepping(lambda h, x: (x, h), lambda _: None), r"NoneType.*zeros instead"),
    "states forgotten": (stepping(lambda h, _: (h, None)), r"NoneType.*pair"),
    "numbers as state": (stepping(lambda n, x: (n + 1, x), lambda _: 0), r"init with int"),
    "axis": (stepping(lambda h, x: (h, x), dim=3), r"dim=3 for xs"),
    "axis of one": (stepping(lambda h, x: (h, x[0]), xs=lambda x: (x, torch.ones(4)), dim=-2), r"dim=-2 for xs"),
    "too few axes in outputs": (stepping(lambda h, x: (h, x.sum())), r"output \(\).*1 axes or more"),
    "steps of two sizes": (stepping(lambda h, x: (h, x[0]), xs=lambda x: (x, torch.ones(2, 7))), r"same number"),
    "leak": (leaks, r"used outside the step"),
    "leak of a scan within another": (leaks_within, r"used outside the step"),
    "a write": (writes, r"writes to a tensor that it has not made"),
    "a write to the state": (stepping(lambda h, x: (h.mul_(0.5) + x, x)), r"writes to a tensor"),
    "tensors that take turns": (takes_turns, r"computes something else when it is called again"),
    "a count of calls": (counts, r"computes something else when it is called again"),
    "a branch": (stepping(branches), r"depends on the values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    forward, message = REFUSED[case]
    module = module_of(forward, first=nn.Parameter(torch.ones(3)), second=nn.Parameter(torch.ones(3)))
    with pytest.raises(UnsupportedModule, match=re.compile(message, re.DOTALL)):
        export_onnx(
            module,
            (torch.randn(3, 4, 3),),
            input_names=["input"],
            output_names=["state", "output"],
            dynamic_shapes=({0: "batch", 1: "sequence"},),
        )


def test_no_step_is_refused():
    with pytest.raises(UnsupportedModule, match="without a step"):
        scan(lambda h, x: (h, x), torch.zeros(2, 3), torch.zeros(2, 0, 3), dim=1)


def test_writes_to_what_the_step_has_made_are_exported(plain):
    def step(h, x):
        made = h + x
        made[:, 0] = 0.0
        return made.mul_(0.5), made.clone().relu_()

    plain(module_of(stepping(step)))


def looped(self, input):
    """What is refused: a Python loop over the steps with neither `for` nor a counter."""
    cell = self.cell[0] if isinstance(self.cell, nn.ModuleList) else self.cell
    zeros, outputs = input.new_zeros(input.size(0), 4), []
    state = (zeros, zeros) if isinstance(cell, TWO_STATES) else zeros
    while len(outputs) < input.size(1):
        state = cell(input[:, len(outputs)], state)
        outputs.append(state[0] if isinstance(cell, TWO_STATES) else state)
    return torch.stack(outputs, 1), *(state if isinstance(cell, TWO_STATES) else (state,))


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm", "normalised"])
def test_the_code_that_the_refusal_of_a_loop_shows(plain, cell):
    torch.manual_seed(9)
    own = cell == "normalised"
    members = {"cell": CELLS[cell](3, 4) if own else nn.ModuleList([CELLS[cell](3, 4)]), "hidden_size": 4}
    module = module_of(looped, **members)
    with pytest.raises(UnsupportedModule, match=r'"sequence".*becomes a scan') as refusal:
        plain(module, sizes=())

    names = {}
    exec(str(refusal.value).partition("\n\n")[2], names)
    rewritten = module_of(names["forward"], **members)
    input = torch.randn(5, 9, 3)
    for expected, found in zip(module(input), rewritten(input), strict=True):
        assert torch.equal(expected, found)
    assert plain(rewritten).operators.count("Scan") == 1
