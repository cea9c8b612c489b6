"""Functions that take sizes, and operators whose sizes are computed: right at sizes unlike the sample."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx, scan


class Of(nn.Module):
    """A function of (batch, sequence, 3), after a scaling that gives the module a parameter; with constants."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("periods", torch.tensor([1, 2, 4]))
        self.register_buffer("with_zero", torch.tensor([1, 0, 4]))
        self.register_buffer("with_minus_one", torch.tensor([1, -1, 4]))
        self.register_buffer("seven", torch.tensor(7))
        self.register_buffer("large", torch.tensor([256, 3, 5]))

    def forward(self, x):
        return self.function(self, x * self.scale)


def pointers(self, x):
    """Visit each step once, the largest first, as a pointer network does."""

    def step(used, _):
        chosen = x.sum(-1).masked_fill(used, -1e9).argmax(-1)
        return used | F.one_hot(chosen, x.size(1)).bool(), chosen

    unused = torch.zeros(x.size(0), x.size(1), dtype=torch.bool)
    return scan(step, unused, torch.arange(x.size(1)), dim=0)[1].transpose(0, 1)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(pointers, id="one_hot within scan"),
        pytest.param(lambda _, x: F.one_hot(x.argmax(1), x.size(1)), id="one_hot"),
        pytest.param(lambda _, x: F.one_hot(x.argmax(1), num_classes=x.size(1) + 2), id="one_hot of more"),
        pytest.param(lambda _, x: x * torch.linspace(0, 1, x.size(1))[:, None], id="linspace"),
        pytest.param(lambda _, x: x * torch.linspace(-3, 7.3, steps=x.size(1) + 1)[1:, None], id="linspace of more"),
        pytest.param(
            lambda _, x: x * torch.linspace(2, -1, x.size(1), dtype=x.dtype, device=x.device)[:, None], id="falling"
        ),
        pytest.param(lambda _, x: x - torch.log(torch.tensor(x.size(1))), id="log of a size"),
        pytest.param(lambda _, x: torch.take_along_dim(x, x.argmax(1, keepdim=True), dim=1), id="take_along_dim"),
        pytest.param(lambda _, x: x.take_along_dim(x.argmax(1)[:, :1, None], -2), id="take_along_dim, one for all"),
        pytest.param(lambda _, x: x[:, :1].take_along_dim((x > 0).long(), 2), id="take_along_dim of one"),
        pytest.param(lambda _, x: torch.take_along_dim(x, (x > 0).long()), id="take_along_dim of all"),
    ],
)
def test_a_function_of_a_size(plain, function):
    plain(Of(function))


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda self, x: x * (torch.arange(x.size(1))[:, None] % self.periods == 0), id="remainder"),
        pytest.param(lambda self, x: x * (torch.arange(x.size(1))[:, None] // self.periods), id="floor"),
        pytest.param(lambda self, x: x * (torch.arange(x.size(1))[:, None] % self.seven), id="of one number"),
        pytest.param(lambda self, x: x * torch.fmod(-torch.arange(x.size(1))[:, None], self.periods[1:2]), id="fmod"),
        pytest.param(lambda _, x: x * (torch.arange(x.size(1))[:, None] % torch.tensor([3, 5, 2])), id="of forward"),
    ],
)
def test_integers_divided_by_constants_without_zero(plain, function):
    plain(Of(function))


@pytest.mark.parametrize(
    "divisor",
    [
        pytest.param(lambda self: self.with_zero, id="zero"),
        pytest.param(lambda self: self.with_minus_one, id="minus one"),
        pytest.param(lambda self: (self.periods / 3).long(), id="zero when rounded"),
        pytest.param(lambda self: (self.seven + 249).to(torch.uint8), id="computed"),
        pytest.param(lambda self: self.large.to(torch.uint8), id="zero as a byte"),
    ],
)
def test_integers_divided_by_constants_that_end_a_process(divisor):
    module = Of(lambda self, x: x * (torch.arange(x.size(1))[:, None] // divisor(self)))
    with pytest.raises(UnsupportedModule, match="neither 0 nor -1"):
        export_onnx(
            module,
            (torch.randn(2, 3, 3),),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: "batch", 1: "sequence"},),
        )


def convolved(self, x):
    """A convolution as long as the sequence, by its transform, as S4D computes it."""
    steps = x.size(1)
    kernel = torch.exp(-torch.arange(steps) / 9.0)[:, None]
    product = torch.fft.rfft(x, n=2 * steps, dim=1) * torch.fft.rfft(kernel, n=2 * steps, dim=0)
    return torch.fft.irfft(product, n=2 * steps, dim=1)[:, :steps]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(convolved, id="convolution"),
        pytest.param(lambda _, x: torch.fft.rfft(x, dim=1).abs(), id="rfft"),
        pytest.param(lambda _, x: torch.fft.rfft(x, n=16, dim=1).abs(), id="rfft of 16"),
        pytest.param(lambda _, x: torch.fft.fft(x, dim=1).real, id="fft"),
        pytest.param(
            lambda _, x: torch.fft.ifft(torch.fft.fft(x, n=x.size(1) + 3, dim=1), dim=1).real, id="fft of more"
        ),
        pytest.param(lambda _, x: torch.fft.irfft(torch.fft.rfft(x, dim=1), n=x.size(1), dim=1), id="irfft"),
        pytest.param(
            lambda _, x: torch.fft.irfft(torch.fft.rfft(x, dim=1, norm="ortho"), n=x.size(1), dim=1, norm="ortho"),
            id="orthonormal",
        ),
        pytest.param(
            lambda _, x: torch.fft.irfft(torch.fft.rfft(x.mT, n=2 * x.size(1)), n=2 * x.size(1)), id="last axis"
        ),
        pytest.param(lambda _, x: torch.fft.fft2(x).real, id="fft2"),
    ],
)
def test_a_transform_whose_length_is_computed(exported, function):
    """Sizes are powers of two and others: the results are those of float64, whichever way they are computed."""
    result = exported(Of(function), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for batch, sequence in ((1, 1), (1, 2), (3, 7), (2, 64), (1, 500)):
        result.agrees(torch.randn(batch, sequence, 3), limit=4e-5)


def shortened(self, x):
    """Frames of a convolution with a stride, padded as speech models do, with numbers of Python in between."""
    length = math.ceil(x.size(1) * 2)
    for _ in range(2):
        length = max(math.ceil((length - 4) / 3) + 1, 1)
    for _ in range(2):
        length = (length - 1) * 3 + 4
    length = int(math.ceil(length / 2))  # noqa: RUF046 - as it was written for Python 2
    padded = F.pad(x, (0, 0, 0, int(length) - x.size(1)))
    parts = padded[:, : math.floor(length / 3)], padded[:, :, :1].repeat(1, 2, 1), self.scale.expand(length * 2, 3)
    return *parts, padded[:, : x.size(1)] * 2


def counted(x):
    return int(x.size(1)) + len(x)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(shortened, id="lengths of frames"),
        pytest.param(lambda _, x: (x.new_ones(counted(x), 2), x * 2), id="int and len"),
    ],
)
def test_sizes_that_are_made_plain_numbers(exported, function):
    result = exported(
        Of(function), (torch.randn(3, 40, 3),), ({0: "batch", 1: "sequence"},), sizes={"sequence": (9, None)}
    )
    for batch, sequence in ((1, 9), (2, 10), (1, 11), (3, 12), (2, 13), (1, 500), (2, 77777)):
        result.agrees(torch.randn(batch, sequence, 3))
    assert result.axes("outputs")[-1][:2] == ["batch", "sequence"]
