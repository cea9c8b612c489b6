"""Uses of operators that this project translates itself, of x (batch, 6)."""

import torch
import torch.nn.functional as F

X = torch.cat([torch.randn(6, 6, generator=torch.Generator().manual_seed(0)), torch.full((1, 6), 1e-9)]).double()
X[2] *= 40

# Numbers that float32 holds: torch's exporter rounds others to float32 before a translation sees them.
RIGHT = {
    "isfinite of a quotient": lambda x: torch.isfinite(1 / x),
    "isinf of a quotient": lambda x: torch.isinf(1 / x),
    "log1p": lambda x: torch.log1p(x.abs()),
    "expm1": torch.expm1,
    "logsigmoid": F.logsigmoid,
    "logaddexp": lambda x: torch.logaddexp(x, -x),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "logit": lambda x: torch.logit(x.sigmoid(), 1e-6),
    "xlogy": lambda x: torch.xlogy(x, x.abs()),
    "% 0.75": lambda x: x % 0.75,
    "% x": lambda x: x % (x.flip(1) + 0.125),
    "// 0.75": lambda x: x // 0.75,
    "fmod": lambda x: torch.fmod(x, 0.75),
    "div(trunc)": lambda x: torch.div(x, 0.75, rounding_mode="trunc"),
    "pow(0.5)": lambda x: x.abs() ** 0.5,
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.3),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.3),
    "pow(3) of integers": lambda x: x.long() ** 3,
    "lerp": lambda x: torch.lerp(x, -x, 0.375),
    "clamp": lambda x: x.clamp(-0.375, 1),
    "sign": torch.sign,
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "sort": lambda x: x.sort(dim=1, stable=True).values,
    "var": lambda x: x.var(1),
    "group_norm": lambda x: F.group_norm(x[:, None], 1),
    "instance_norm": lambda x: F.instance_norm(x[:, None]),
    "amax": lambda x: x.amax(1),
    "any": lambda x: (x > 1).any(1),
    "sums of integers": lambda x: x.long().sum(1),
    "sigmoid under a logarithm": lambda x: torch.log(torch.sigmoid(x)),
}
NUMBERS = {
    "clamp(1e-6, 1)": lambda x: x.clamp(1e-6, 1),
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp(max=1)": lambda x: x.clamp(max=1),
    "clamp_(0, 0.5)": lambda x: x.clone().clamp_(0, 0.5),
    "hardtanh(-1, 0.5)": lambda x: F.hardtanh(x, -1, 0.5),
    "threshold(0, 0.5)": lambda x: F.threshold(x, 0, 0.5),
    "where(x, 1)": lambda x: torch.where(x > 0, x, 1),
    "where(1, x)": lambda x: torch.where(x > 0, 1, x),
    "where(0, 0.5)": lambda x: torch.where(x > 0, 0, 0.5).to(x.dtype),
    "masked_fill(1)": lambda x: x.masked_fill(x > 0, 1),
    "lerp(1)": lambda x: x.lerp(x * x, 1),
    "add(alpha=2)": lambda x: torch.add(x, 1, alpha=2),
    "rpow of whole exponents": lambda x: x + 0.5 ** torch.arange(4),
    "rsub": lambda x: 1 - x,
}
"""Of x (batch, 4)."""
