"""Numbers that a loop computes of the number of its step: in double precision, as Python does, in loops of any size."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_number import as_tensors, math_of_steps

ROWS = ({0: "batch", 1: "sequence"},)


class Scaled(nn.Module):
    """Scales each step by a number of its own."""

    number: Any

    def forward(self, x):
        n, outputs, h = x.size(1), [], torch.zeros_like(x[:, 0])
        for t in range(n):
            h = 0.5 * h + x[:, t]
            outputs.append(h * self.number(t, n))
        return torch.stack(outputs, 1)


class Power(Scaled):
    def number(self, t, _):
        return 0.999**t


class Correction(Scaled):
    def number(self, t, _):
        return 1 / (1 - 0.999 ** (t + 1))


class Root(Scaled):
    def number(self, t, _):
        return (t + 1) ** -0.5


class Squared(Scaled):
    def number(self, t, _):
        return (t**2 % 7 + t // 3) / 7


class Exponential(Scaled):
    def number(self, t, _):
        return math.exp(-t * 0.1)


class Cosine(Scaled):
    def number(self, t, n):
        return 0.5 * (1 + math.cos(math.pi * t / n))


class Logarithm(Scaled):
    def number(self, t, _):
        return math.log(t + 2) / math.sqrt(t + 1)


class Share(Scaled):
    def number(self, t, n):
        return 1 - t / n


class Threshold(Scaled):
    def number(self, t, n):
        return 1.0 if t / n < 0.3 else 0.5


class Condition(Scaled):
    def number(self, t, _):
        return float(t % 3 == 0) + int(t > 4) / 4


class AsTensor(Scaled):
    def number(self, t, _):
        return 0.9 ** torch.tensor(float(t)) + torch.tensor(0.1 * t, dtype=torch.float64).float()


class AsList(Scaled):
    def number(self, t, _):
        return torch.tensor([t, 2, 5]).sum() * 0.01 + torch.tensor([[0.999**t, 3], [t + 1, 0.5]]).prod()


class AsTyped(Scaled):
    def number(self, t, _):
        whole = torch.as_tensor([0.3 * t, t], dtype=torch.int64)
        return (whole[0] + torch.tensor([1 - 0.999 ** (t + 1)], dtype=torch.float64)).float()


class Embedded(Scaled):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3000, 3)

    def number(self, t, _):
        return self.table(torch.tensor([t], device="cpu")) + self.table(torch.as_tensor(t))


class Total(nn.Module):
    """Carries floats of Python."""

    def forward(self, x):
        total, rate, outputs = 0.0, 1.0, []
        for t in range(x.size(1)):
            total += 0.1
            rate *= 0.999
            outputs.append(x[:, t] * total + rate)
        return torch.stack(outputs, 1) + rate


class Moments(nn.Module):
    """Adam's, with their corrections."""

    def forward(self, x):
        m, v, outputs = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]), []
        for t in range(x.size(1)):
            g = x[:, t]
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            outputs.append((m / (1 - 0.9 ** (t + 1))) / (torch.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8))
        return torch.stack(outputs, 1)


FAMILY = [
    Power, Correction, Root, Squared, Exponential, Cosine, Logarithm, Share, Threshold, Condition, AsTensor, AsList,
    AsTyped, Embedded, Total, Moments,
]  # fmt: skip


def exported(module):
    return export_onnx(
        module.eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=ROWS
    )


@pytest.mark.filterwarnings("ignore:the exported module computes both sides of the branch")
@pytest.mark.parametrize("kind", FAMILY)
def test_numbers_have_the_bits_of_pythons(kind):
    torch.manual_seed(1)
    module = kind()
    run = OnnxRunner(exported(module).model_proto.SerializeToString())
    for sizes in ((1, 1), (2, 2), (3, 33), (2, 100), (1, 3000)):
        x = torch.randn(*sizes, 3)
        # A few ulps: double precision that is cut to float32 first is off by thousands, as 1 - 0.999 ** (t + 1) is.
        np.testing.assert_allclose(run({"x": x.numpy()})["y"], module(x).detach().numpy(), rtol=2e-6, atol=2e-6)


class ByNumpy(Scaled):
    def number(self, t, _):
        return np.exp(-t * 0.1)


class FromTable(Scaled):
    def number(self, t, _):
        return [0.1, 0.2, 0.3][t % 3]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ByNumpy, r"numpy's exp is called with the number of the step.*math\.exp\(…\)"),
        (FromTable, "a plain number is made of the number of the step, as for .* the position in a list"),
    ],
)
def test_what_takes_no_such_number_is_refused_with_the_line_of_the_loop(kind, said):
    with pytest.raises(UnsupportedModule, match=rf"test_numbers_of_steps\.py:\d+ .*{said}"):
        exported(kind())


class Loop:
    count, first, now = 9, 0, 3
    lowest, skips = 0, False

    def step_tensor(self):
        return torch.tensor(self.now)


NUMBERS = {
    "a float added": lambda t: t + 0.1,
    "taken from a float": lambda t: 0.1 - t,
    "a float power": lambda t: 0.1**t,
    "power of a float": lambda t: t**0.1,
    "a negative power": lambda t: 2 ** (1 - t),
    "an int": lambda t: 2**t + t**3 - (7 * t) % 4 + 9 // t,
    "a quotient": lambda t: 1 / t + t / 7,
    "remainders of floats": lambda t: (0.7 * t) % 0.2 + (-0.7 * t) // 0.2,
    "signs": lambda t: abs(-t * 0.1) + (-(t * 0.1)),
    "functions": lambda t: math.pow(0.1, t) + math.expm1(t * 1e-9) + math.fabs(-0.1 * t) + math.tanh(0.1 * t),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_arithmetic_is_pythons(case):
    loop: Any = Loop()
    with math_of_steps():
        found = NUMBERS[case](StepIndex(loop, 1, 0))
        assert math.exp(1.5) == math.e**1.5  # of other numbers as ever
    value = found.value
    expected = NUMBERS[case](loop.now)
    assert value.dtype == (torch.int64 if isinstance(expected, int) else torch.float64)
    assert value.item() == pytest.approx(expected, rel=4e-16)
    assert as_tensors(found).dtype == (torch.int64 if isinstance(expected, int) else torch.float32)
    assert as_tensors((found, torch.zeros(2, dtype=torch.float64)))[0].dtype == value.dtype
