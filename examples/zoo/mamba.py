"""A Mamba block (Gu and Dao 2023, package mambapy, sequential): a causal convolution, then a loop over steps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "mambapy MambaBlock, sequential"


class Mamba(nn.Module):
    """A state (batch, inner, state) with input-dependent rates of decay and update."""

    def __init__(self, features: int = 4, inner: int = 8, state: int = 4, width: int = 3) -> None:
        super().__init__()
        self.inner, self.state, self.width = inner, state, width
        self.enter, self.leave = nn.Linear(features, 2 * inner), nn.Linear(inner, features)
        self.conv = nn.Conv1d(inner, inner, width, groups=inner)
        self.select, self.rate = nn.Linear(inner, 1 + 2 * state), nn.Linear(1, inner)
        self.log_decay = nn.Parameter(torch.log(torch.arange(1.0, state + 1).repeat(inner, 1)))
        self.skip = nn.Parameter(torch.ones(inner))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, sequence, features) for x (batch, sequence, features)."""
        each, gate = self.enter(x).chunk(2, dim=-1)
        each = self.conv(functional.pad(each.transpose(1, 2), (self.width - 1, 0))).transpose(1, 2)
        each = functional.silu(each)
        rate, write, read = self.select(each).split([1, self.state, self.state], dim=-1)
        rate = functional.softplus(self.rate(rate))  # (batch, sequence, inner)
        h, outputs = x.new_zeros(x.size(0), self.inner, self.state), []
        for t in range(x.size(1)):
            decay = torch.exp(-rate[:, t].unsqueeze(-1) * torch.exp(self.log_decay))
            h = decay * h + (rate[:, t] * each[:, t]).unsqueeze(-1) * write[:, t].unsqueeze(1)
            outputs.append((h * read[:, t].unsqueeze(1)).sum(-1))
        output = torch.stack(outputs, dim=1) + self.skip * each
        return self.leave(output * functional.silu(gate))


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    return Publication(Mamba().eval(), "mamba", inputs={"x": Floats("batch", "sequence", 4)}, outputs=["y"])
