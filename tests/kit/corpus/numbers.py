"""Modules of complex numbers, of float16 and of sparse weights."""

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.corpus.rows import LENGTHS, Family, X, floats
from rnnserve.export import scan

__all__ = ["COMPLEX", "HALVES", "OPERATIONS", "SPARSE"]


_Z = torch.tensor([1 + 2j, -0.5j, 0.3 - 1j])

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a sum": lambda z, w: z + w - 0.5 * z + 2 + (1 - z) - 1j,
    "a sum with reals": lambda z, w: z.real.unsqueeze(-1) + w.unsqueeze(-1) - z.unsqueeze(-2).imag,
    "a product": lambda z, w: z * w * 2j * w.real,
    "a quotient": lambda z, w: w / z,
    "a quotient of numbers": lambda z, w: z / 2 + z / (1 + 1j) + 1 / w.abs(),
    "the inverse": lambda z, _: z.reciprocal(),
    "a power": lambda z, _: z**2 + z**3,
    "powers of a constant": lambda z, w: (w / 3).unsqueeze(-1) ** torch.arange(z.size(1)),
    "exp": lambda z, _: torch.exp(z),
    "log": lambda z, _: torch.log(z),
    "abs": lambda z, _: z.abs(),
    "angle": lambda z, _: z.angle(),
    "conj": lambda z, _: z.conj() * z.conj_physical().resolve_conj(),
    "polar": lambda z, _: torch.polar(z.abs(), z.angle() * 2),
    "a matrix": lambda z, w: z @ torch.outer(w, w),
    "einsum": lambda z, w: torch.einsum("bth,h->bt", z, w),
    "sums": lambda z, _: z.sum(1) + z.cumsum(1)[:, -1],
    "shapes": lambda z, _: z.transpose(1, 2).reshape(z.size(0), -1).unsqueeze(-1).flip(1)[:, 1:],
    "joined": lambda z, w: torch.cat([z, z * 0 + w, z.real + 0j], -1) + torch.stack([z, z], 0).sum(0).repeat(1, 1, 3),
    "chosen": lambda z, w: torch.where(z.real > 0, z, w) + z.masked_fill(z.imag > 0, 1.0),
    "padded": lambda z, _: nn.functional.pad(z, (1, 2), value=0.5),
    "made": lambda z, _: torch.zeros_like(z) + torch.ones_like(z) + torch.full((3,), 1 + 2j) + z.new_zeros(3),
    "in parts": lambda z, _: z.unbind(-1)[0] + z.split(1, -1)[2].squeeze(-1),
    "a transform": lambda z, w: torch.fft.ifft(torch.fft.fft(z, n=8) * torch.fft.fft(w, n=8))[..., :3],
    "a spectrogram": lambda z, _: (
        torch.stft(z.real.repeat(1, 1, 3).flatten(0, 1), 4, 2, window=torch.ones(4), center=False, return_complex=True)
        * 1j
    ),
    "a transform of two axes": lambda z, _: torch.fft.ifft2(torch.fft.fft2(z[..., None].repeat(1, 1, 1, 4)) * 2j),
    "real transforms": lambda z, _: torch.fft.irfft(torch.fft.rfft(z.real, n=8) * 1j, n=8),
}


class Operation(nn.Module):
    """One operation of two complex numbers, of which one is a parameter."""

    def __init__(self, operation):
        super().__init__()
        self.w, self.operation = nn.Parameter(_Z.clone()), operation

    def forward(self, x):
        result = self.operation(torch.view_as_complex(x), self.w)
        return torch.view_as_real(result.resolve_conj()) if result.is_complex() else result


COMPLEX = Family(
    "complex numbers", arguments=(floats("batch", "sequence", 3, 2),), together=30, limit=10.0, is_scaled=False
)
for name, operation in OPERATIONS.items():
    COMPLEX.add(
        name,
        functools.partial(Operation, operation),
        is_core=name in ("a product", "abs"),
        runs=((1, 1), (3, 4), (2, 7)),
    )
MAGNITUDES = {
    "abs": lambda z, _, scale: (z * scale).abs() / scale,
    "a quotient": lambda z, w, scale: w / (z * scale) * scale,
    "the inverse": lambda z, _, scale: (z * scale).reciprocal() * scale,
    "angle": lambda z, _, scale: (z * scale).angle(),
}
"""Operations whose squares would overflow or vanish."""
for (name, operation), scale in itertools.product(MAGNITUDES.items(), (1e-30, 1e15)):
    COMPLEX.add(
        f"{name} of numbers times {scale}",
        functools.partial(Operation, functools.partial(operation, scale=scale)),
        runs=((1, 1), (3, 4), (2, 7)),
    )
right, core, refused = COMPLEX.right, COMPLEX.core, COMPLEX.refused


@core(arguments=(X,))
class LRU(nn.Module):
    """Linear recurrent unit of Orvieto et al. (2023): a diagonal complex state, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.nu, self.theta = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.into = nn.Parameter(torch.randn(4, 3, dtype=torch.cfloat) / 3)
        self.out = nn.Parameter(torch.randn(2, 4, dtype=torch.cfloat) / 3)

    def forward(self, x: Tensor) -> Tensor:
        decay = torch.exp(torch.complex(-torch.exp(self.nu), self.theta))
        steps = x.to(self.into.dtype) @ self.into.mT
        h = torch.zeros(x.size(0), 4, dtype=torch.cfloat)
        outputs = []
        for t in range(x.size(1)):
            h = decay * h + steps[:, t]
            outputs.append((h @ self.out.mT).real)
        return torch.stack(outputs, 1)


@right(arguments=(X,))
class S4D(nn.Module):
    """Diagonal state space of Gu et al. (2022), as the authors write it: a kernel, and a convolution by transforms."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.randn(3, 4, 2))
        self.log_dt, self.log_a, self.a = (nn.Parameter(torch.rand(*size)) for size in ((3,), (3, 4), (3, 4)))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.size(1)
        a = -torch.exp(self.log_a) + 1j * self.a
        dt_a = a * torch.exp(self.log_dt).unsqueeze(-1)
        c = torch.view_as_complex(self.c) * (torch.exp(dt_a) - 1.0) / a
        powers = torch.exp(dt_a.unsqueeze(-1) * torch.arange(steps))
        kernel = 2 * torch.einsum("hn, hnl -> hl", c, powers).real
        spectrum = torch.fft.rfft(x.transpose(1, 2), n=2 * steps) * torch.fft.rfft(kernel, n=2 * steps)
        return torch.fft.irfft(spectrum, n=2 * steps)[..., :steps].transpose(1, 2)


@refused(r"^tanh \(at \w+\.py:\d+\) of complex numbers has no form in reals here\. Write it")
def tanh(_, x):
    return torch.tanh(torch.view_as_complex(x)).real


@refused(r"^the module gives complex numbers; return torch\.view_as_real of them$", is_located=False, is_core=True)
def complex_results(_, x):
    return torch.view_as_complex(x) * 2


class Tagger(nn.Module):
    """A recurrent module and a head at each step; the head follows a transposition where it is batch-first."""

    def __init__(self, cell, layers, bidirectional, batch_first, packed, **options):
        super().__init__()
        self.rnn = cell(3, 8, layers, bidirectional=bidirectional, batch_first=batch_first, **options)
        self.packed, self.batch_first = packed, batch_first
        self.head = nn.Linear((self.rnn.proj_size or 8) * (1 + bidirectional), 2)

    def forward(self, input, lengths):
        x = input if self.batch_first else input.transpose(0, 1)
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False)
        output, final = self.rnn(x)
        if self.packed:
            output, _ = pad_packed_sequence(output, batch_first=self.batch_first, total_length=input.shape[1])
        return self.head(output), final


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.norm = nn.LSTMCell(3, 8), nn.LayerNorm(8)

    def forward(self, input, _lengths):
        def step(state, x):
            h, c = self.cell(x, state)
            return (h, c), self.norm(h)

        zeros = input.new_zeros(input.size(0), 8)
        return scan(step, (zeros, zeros), input, dim=1)


def in_half(make, options):
    return make(*options).half()


HALF = floats("batch", "sequence", 3, dtype=torch.float16)
HALVES = Family("float16", arguments=(HALF, LENGTHS), limit=1400.0)
for name, make, options in (
    ("rnn", functools.partial(Tagger, nn.RNN), (1, False, True, False)),
    ("rnn", functools.partial(Tagger, nn.RNN), (2, True, False, True)),
    ("gru", functools.partial(Tagger, nn.GRU), (2, False, True, True)),
    ("gru", functools.partial(Tagger, nn.GRU), (1, True, False, False)),
    ("lstm", functools.partial(Tagger, nn.LSTM), (1, True, True, True)),
    ("lstm", functools.partial(Tagger, nn.LSTM), (2, False, False, False)),
    ("projected lstm", functools.partial(Tagger, nn.LSTM, proj_size=3), (2, True, True, True)),
    ("scan", Steps, ()),
):
    HALVES.add(f"{name} {options}", functools.partial(in_half, make, options))


class Casts(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, input):
        turned = input.transpose(0, 1)
        return self.head(turned.float()), turned


for dtype in (torch.float64, torch.float16):
    HALVES.add(f"a head after a cast of {dtype}", Casts, floats("batch", "sequence", 3, dtype=dtype))


class InDouble(nn.Module):
    """Operators that onnxruntime has no kernel in float64 for, whose types torch's exporter leaves out."""

    def forward(self, x):
        return nn.functional.elu(x.double()), nn.functional.silu(x.double())


HALVES.add("of a double", InDouble, X, limit=1.0, is_core=True)


SPARSE = Family("sparse weights", arguments=(floats("batch", "sequence", 4),))


class EchoState(nn.Module):
    """Computes the reservoir's product by a function that takes a sparse matrix."""

    def __init__(self, product, layout, held):
        super().__init__()
        weights = (torch.randn(24, 24) * (torch.rand(24, 24) < 0.2) * 0.3).to_sparse(layout=layout)
        self.reservoir: torch.Tensor
        if held == "buffer":
            self.register_buffer("reservoir", weights)
        elif held == "parameter":
            self.reservoir = nn.Parameter(weights, requires_grad=False)
        else:
            self.reservoir = weights
        self.product = product
        self.inner, self.head = nn.Linear(4, 24), nn.Linear(24, 3)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 24)
        states = []
        for t in range(x.size(1)):
            h = torch.tanh(self.inner(x[:, t]) + self.product(self.reservoir, h.t()).t())
            states.append(h)
        return self.head(torch.stack(states, 1))


PRODUCTS = {
    "sparse.mm": torch.sparse.mm,
    "mm": torch.mm,
    "@": torch.matmul,
    "sparse.addmm": lambda weights, h: torch.sparse.addmm(torch.ones(24, 1).expand(24, h.size(1)), weights, h),
}


def echo(product, layout=torch.sparse_coo, held="buffer", **more):
    make = functools.partial(EchoState, PRODUCTS[product], layout, held)
    SPARSE.add(f"{product} of {layout} in {held}", make, **more)


for product in PRODUCTS:
    echo(product, is_core=product == "sparse.mm")
echo("sparse.mm", held="parameter")
echo("sparse.mm", held="attribute")
echo("@", torch.sparse_csr)
