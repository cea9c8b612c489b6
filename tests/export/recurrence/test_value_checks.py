"""Checks of values that do nothing but raise are left out of a capture, and told; branches on values stay refused."""

import pytest
import torch
from torch import nn

from kit.checking_modules import Checking, CheckingInALoop
from rnnserve.export import UnsupportedModule
from rnnserve.export.module_functions import functions_of

SHAPES = ({0: "batch", 1: "sequence"}, {0: "batch"})


@pytest.mark.parametrize(("make", "lines", "x", "lengths"), [(Checking, 4, 0.0, 0), (CheckingInALoop, 1, torch.nan, 2)])
def test_checks_are_left_out_and_told(exported, make, lines, x, lengths):
    module = make().eval()
    codes = [(function, function.__code__) for function in functions_of(module)]
    with pytest.warns(UserWarning, match=r"makes no check of values at checking_modules\.py:\d+") as told:
        result = exported(module, (torch.randn(2, 4, 3), torch.tensor([4, 2])), SHAPES)
    assert len({str(each.message) for each in told if "no check" in str(each.message)}) == lines
    result.agrees(torch.randn(3, 7, 3), torch.tensor([2, 7, 1]))
    assert all(function.__code__ is code for function, code in codes)
    with pytest.raises((ValueError, AssertionError, RuntimeError)):
        module(torch.full((1, 3, 3), x), torch.tensor([lengths]))


class Branching(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.how = how

    def forward(self, x, lengths):
        y = self.gru(x)[0]
        if self.how == "else":
            if y.sum() > 0:
                raise ValueError
            else:  # noqa: RET506 - a branch all the same
                y = y * 2
        elif self.how == "work before it raises":
            if y.sum() > 0:
                y = y * 2
                raise ValueError
        elif y.sum() > 0:
            y *= 2
        return y[:, 0] + lengths.unsqueeze(1)


@pytest.mark.parametrize("how", ["else", "work before it raises", "branch"])
def test_what_does_more_than_raise_is_refused(exported, how):
    module = Branching(how).eval()
    for name, parameter in module.gru.named_parameters():
        parameter.data.fill_(-1 if "bias" in name else 0)  # every state is negative
    with pytest.raises(
        UnsupportedModule, match=r"depends on the values of a tensor \(at .*\), '(el)?if y.sum\(\) > 0:'"
    ):
        exported(module, (torch.randn(2, 4, 3), torch.tensor([4, 2])), SHAPES)


class Policy(nn.Module):
    """Makes distributions of what it computes; torch checks their arguments where nothing else is said."""

    def __init__(self, validate_args=None):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.validate_args = validate_args

    def forward(self, x):
        y = self.gru(x)[0]
        choice = torch.distributions.Categorical(logits=y, validate_args=self.validate_args)
        action = torch.distributions.Independent(torch.distributions.Normal(y, y.exp()), 1)
        return choice.probs, choice.entropy(), action.mean, action.log_prob(y * 2)


@pytest.fixture
def checking(monkeypatch):
    """Distributions check by default: torch._dynamo turns that off for the process, where it is asked first."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


@pytest.mark.usefixtures("checking")
def test_checks_of_distributions_are_left_out_and_told(plain):
    with pytest.warns(
        UserWarning, match=r"not check the arguments of distributions \(Categorical, Independent, Normal\)"
    ):
        plain(Policy().eval())
    with pytest.raises(ValueError, match="Expected parameter logits"):  # in eager, as before
        Policy()(torch.full((1, 3, 3), torch.nan))


def test_checks_that_a_distribution_is_told_to_make_are_refused(plain):
    with pytest.raises(UnsupportedModule, match=r"a distribution of torch\.distributions.*validate_args=False"):
        plain(Policy(validate_args=True).eval())
