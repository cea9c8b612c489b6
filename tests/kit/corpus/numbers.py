"""Modules of complex numbers, of other types of floats and of sparse weights."""

import torch
from torch import Tensor, nn

from kit.corpus.rows import Family, X, floats

COMPLEX = Family("complex numbers")
right, core, refused = COMPLEX.right, COMPLEX.core, COMPLEX.refused

NO_COMPLEX = r"^{} \(at \w+\.py:\d+\) computes with complex numbers, which ONNX lacks.*the real and the imaginary part"


@refused(NO_COMPLEX.format("(complex|exp)"), is_core=True)
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


@core
class RealLRU(nn.Module):
    """The same as its refusal asks for: real and imaginary parts."""

    def __init__(self) -> None:
        super().__init__()
        self.nu, self.theta = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.into, self.out = nn.Parameter(torch.randn(2, 4, 3) / 3), nn.Parameter(torch.randn(2, 2, 4) / 3)

    def forward(self, x: Tensor) -> Tensor:
        size = torch.exp(-torch.exp(self.nu))
        a, b = size * torch.cos(self.theta), size * torch.sin(self.theta)
        real, imaginary = x @ self.into[0].mT, x @ self.into[1].mT
        re, im = x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4)
        outputs = []
        for t in range(x.size(1)):
            re, im = a * re - b * im + real[:, t], a * im + b * re + imaginary[:, t]
            outputs.append(re @ self.out[0].mT - im @ self.out[1].mT)
        return torch.stack(outputs, 1)


NARROW = Family("other types of floats")


@NARROW.refused(r"^`weight_ih_l0` is torch\.float16.*module\.float\(\)", is_core=True, is_located=False)
class InHalf(nn.GRU):
    def __init__(self):
        super().__init__(3, 4)
        self.half()


class InDouble(nn.Module):
    """Operators that onnxruntime has no kernel in float64 for, whose types torch's exporter leaves out."""

    def forward(self, x):
        return nn.functional.logsigmoid(x.double()), nn.functional.silu(x.double())


NARROW.add("of a double", InDouble, X, is_core=True)


SPARSE = Family("sparse weights", arguments=(floats("batch", "sequence", 4),))


@SPARSE.refused(r"^`reservoir` is a sparse tensor.*\.to_dense\(\)", is_core=True, is_located=False)
class EchoState(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("reservoir", (torch.randn(24, 24) * (torch.rand(24, 24) < 0.2) * 0.3).to_sparse())
        self.inner, self.head = nn.Linear(4, 24), nn.Linear(24, 3)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 24)
        states = []
        for t in range(x.size(1)):
            h = torch.tanh(self.inner(x[:, t]) + torch.sparse.mm(self.reservoir, h.t()).t())
            states.append(h)
        return self.head(torch.stack(states, 1))
