"""A call that reads what the call before it wrote is refused, unless every call ends with what it began with."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule
from rnnserve.export.recurrence.carried_state import refuse_carried_state


class Keeping(nn.Module):
    """A loop over steps whose state is an attribute.

    Args:
        initial: Its value before the first call.
        ending: What makes the value after a call, of the module and its input.
    """

    def __init__(self, initial, ending):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(3))
        self.state, self.ending = initial, ending

    def forward(self, x):
        for step in x.unbind(1):
            self.state = torch.tanh(self.state + step.sum(0))
        y = self.state * 1
        self.state = self.ending(self, x)
        return y


def written_in_place(module, x):
    state = torch.zeros(3)
    state[:2] = x[0, 0, :2]
    return state


LEFT = {
    "zeros like it": lambda module, _: torch.zeros_like(module.state),
    "zeros like a part of the input": lambda _, x: x.new_zeros(3),
    "a parameter": lambda module, _: module.start.detach().clone(),
}
CHANGED = {
    "what it has computed": (torch.zeros(3), lambda module, _: module.state),
    "what is always nothing of the input": (torch.zeros(3), lambda _, x: x[0, 0] * 0),
    "a place that the input is written to": (torch.zeros(3), written_in_place),
    "another value than the first": (torch.ones(3), LEFT["zeros like it"]),
    "another shape than the first": (torch.zeros(1), LEFT["zeros like a part of the input"]),
}
X = torch.randn(2, 4, 3)


@pytest.mark.parametrize("ending", LEFT)
def test_states_that_are_put_back_are_none(ending):
    module = Keeping(torch.zeros(3), LEFT[ending])
    state = module.state
    refuse_carried_state(module, (X,))
    assert module.state is state


@pytest.mark.parametrize("case", CHANGED)
def test_others_are_refused(case):
    with pytest.raises(UnsupportedModule, match=r"keeps \['state'\] from one call to the next"):
        refuse_carried_state(Keeping(*CHANGED[case]), (X,))
