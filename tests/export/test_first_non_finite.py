"""Where NaN and infinity arise in a module: the operator, the module that calls it, and the line."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.first_non_finite import find_first_non_finite, non_finite_advice
from rnnserve.export.flat_module import Call, FlatModule, Slot


def flat(module):
    return FlatModule(module, Call(("x",), (Slot("x"),)), ["y"])


class FrontEnd(nn.Module):
    """Computes features before a recurrence."""

    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


class Model(nn.Module):
    """A front end, a GRU, and a head."""

    def __init__(self, compute):
        super().__init__()
        self.front = FrontEnd(compute)
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.gru(self.front(x))[0])


def origin_of(compute, x):
    return find_first_non_finite(flat(Model(compute).eval()), {"x": np.full((2, 3, 4), x, np.float32)})


@pytest.mark.parametrize(
    ("compute", "x", "operator", "advice"),
    [
        (torch.log, -1.0, "log", "before the logarithm"),
        (torch.log, 0.0, "log", "before the logarithm"),  # infinity, of which the GRU makes NaN
        (lambda x: x / (x - x.mean(-1, keepdim=True)), 1.0, "div", "to the divisor"),
        (lambda x: x.abs().exp() - x.abs().exp() * 2, 100.0, "exp", "before exp"),
        (lambda x: x.cumsum(1).exp() * (-x.cumsum(1)).exp().cumsum(1), -100.0, "exp", "logcumsumexp"),
        (lambda x: x / x[:, :1, :1].std((1, 2), keepdim=True), 1.0, "std", "correction=0"),
        (lambda x: torch.sqrt(x), -1.0, "sqrt", "Clamp before the root"),
        (lambda x: x.masked_fill(x > 0, -torch.inf).softmax(-1), 1.0, "masked_fill", "-1e9"),
    ],
    ids=["log of a negative", "log of zero", "0/0", "overflow", "a scan", "one value", "root", "a mask"],
)
def test_first_non_finite_operator_is_named(compute, x, operator, advice):
    origin = origin_of(compute, x)
    assert (origin.operator, origin.module) == (operator, "front")
    assert origin.line.startswith("test_first_non_finite.py:")
    assert advice in origin.advice
    advised = non_finite_advice(flat(Model(compute).eval()), {"x": np.full((2, 3, 4), x, np.float32)})
    assert ("samples=" in advised) == (operator != "masked_fill")
    assert advised.endswith(" allow_non_finite=True")
    assert str(origin) == f'{operator} in "front"'


class PaddedMean(nn.Module):
    """A mean over the ids that are not padding."""

    def forward(self, x):
        return (x * (x != 0)).sum(1) / (x != 0).sum(1)


def test_division_of_ids_is_named_with_bounds_for_integers():
    advised = non_finite_advice(flat(PaddedMean()), {"x": np.zeros((2, 3), np.int64)})
    assert "first appear in div" in advised
    assert "Integers(" in advised
    assert "Floats(" not in advised


def test_finite_result_names_no_operator():
    assert origin_of(lambda x: x.masked_fill(x > 0, -torch.inf).masked_fill(x > 0, 0), 1.0).operator == "masked_fill"
    assert origin_of(lambda x: x, 1.0) is None


def test_search_leaves_no_hooks():
    model = Model(torch.log)
    find_first_non_finite(flat(model), {"x": np.zeros((1, 2, 4), np.float32)})
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_module_with_non_finite_results_is_refused_with_the_operator():
    publication = Publication(Model(torch.log), "front", {"x": Floats("batch", "sequence", ("mel", 4))}, ["y"])
    with pytest.raises(UnsupportedModule, match=r'first appear in log in "front" .*low=.*samples=.*allow_non_finite'):
        describe_model(publication)
    assert describe_model(dataclasses.replace(publication, allow_non_finite=True)).allow_non_finite
