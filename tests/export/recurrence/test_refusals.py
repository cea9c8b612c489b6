"""Modes of a module, and arguments, on which its verdict depends."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.export import UnsupportedModule, export_onnx

AXES = {0: "batch", 1: "sequence"}


def export(module, shapes=(AXES,), outputs=1, sample=(3, 6, 3)):
    names = [f"output_{number}" for number in range(outputs)]
    return export_onnx(module, (torch.randn(*sample),), input_names=["x"], output_names=names, dynamic_shapes=shapes)


def test_list_of_lengths_is_accepted_for_a_fixed_batch():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(3, 4, 2, batch_first=True)

        def forward(self, x):
            return self.rnn(pack_padded_sequence(x, [4, 2, 1], True))[1][0]

    program = export(Listed().eval(), (None,), sample=(3, 4, 3))
    assert [node.op_type for node in program.model_proto.graph.node].count("LSTM") == 2


@pytest.mark.parametrize("make", [lambda: nn.GRU(3, 4, 2, dropout=0.5, batch_first=True), lambda: nn.Dropout(0.5)])
def test_active_dropout_is_refused(make):
    module = nn.Sequential(make())
    with pytest.raises(UnsupportedModule, match=r"\.eval\(\)"):
        export(module.train(), outputs=2)
    assert module.training


def test_batch_norm_in_training_mode_is_refused():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, input):
            return self.rnn(self.norm(input.transpose(1, 2)).transpose(1, 2))[0]

    before = (module := Normalised()).norm.running_mean.clone()
    with pytest.raises(UnsupportedModule, match=r"buffers.*\.eval\(\)"):
        export(module)
    assert torch.equal(module.norm.running_mean, before)


def test_sizes_that_eager_refuses_do_not_prevent_the_export():
    class Long(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv1d(3, 3, 3)
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, input):
            if input.size(1) < 3:
                raise ValueError("too short")
            return self.rnn(self.convolution(input.transpose(1, 2)).transpose(1, 2))[0]

    outputs = export(Long().eval()).model.graph.outputs
    assert str(outputs[0].shape[1]) == "sequence - 2"


@pytest.fixture
def checking(monkeypatch):
    """Distributions check by default: torch._dynamo turns that off for the process, where it is asked first."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


@pytest.mark.usefixtures("checking")
def test_checks_of_distributions_are_skipped_with_a_warning():
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            y = self.gru(x)[0]
            return Categorical(logits=y).entropy(), Normal(y, y.exp()).log_prob(y * 2)

    with pytest.warns(UserWarning, match=r"skips the check of values at test_refusals\.py:\d+"):
        export(Policy().eval(), outputs=2)
    with pytest.raises(ValueError, match="Expected parameter logits"):  # in eager, as before
        Policy()(torch.full((1, 3, 3), torch.nan))


class Counting(nn.Module):
    """Returns other results in each call, but keeps its counter outside its attributes."""

    def __init__(self, difference, period=3):
        super().__init__()
        self.rnn, calls = nn.RNN(3, 4, batch_first=True), itertools.count()
        self.factor = lambda: 1 + difference * (next(calls) % period)

    def forward(self, x):
        return self.rnn(x)[0] * self.factor()


def test_results_that_differ_only_by_rounding_are_not_a_state():
    assert export(Counting(1e-7).eval())
    with pytest.raises(UnsupportedModule, match=r"changes .* with each call"):
        export(Counting(1e-2).eval())
    with pytest.raises(UnsupportedModule, match=r"changes .* with each call"):
        export(Counting(1e-2, period=2).eval())


class Noisy(nn.Module):
    """Lets random numbers decide, as teacher forcing does."""

    def __init__(self, draw, ratio):
        super().__init__()
        self.rnn, self.draw, self.ratio = nn.RNN(3, 4, batch_first=True), draw, ratio

    def forward(self, x):
        return self.rnn(x if self.draw() < self.ratio else -x)[0]


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy.random"])
def test_results_that_depend_on_random_numbers_of_python_and_numpy_are_refused(draw):
    assert export(Noisy(draw, ratio=0.0).eval())
    with pytest.raises(UnsupportedModule, match=r"depend on random numbers of Python's random or numpy\.random"):
        export(Noisy(draw, ratio=0.5).eval())
