"""Modules that compute with complex numbers: operator by operator, and linear recurrences as packages write them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["LRU", "OPERATIONS", "S4D", "Operations"]

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


class Operations(nn.Module):
    """Every operation of two complex numbers, of which one is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(_Z.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        z = torch.view_as_complex(x)
        results = (operation(z, self.w) for operation in OPERATIONS.values())
        return tuple(torch.view_as_real(each.resolve_conj()) if each.is_complex() else each for each in results)


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
