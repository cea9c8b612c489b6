"""minGRU (Feng et al. 2024, package minGRU-pytorch): a GRU whose gates don't read the state, in a loop over steps."""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "minGRU-pytorch, sequential"


class MinGRU(nn.Module):
    """Computes h = (1 - z) * h + z * candidate. z and the candidate depend only on the input."""

    def __init__(self, features: int = 4, hidden: int = 8) -> None:
        super().__init__()
        self.gate_and_candidate = nn.Linear(features, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return states (batch, sequence, hidden) for x (batch, sequence, features)."""
        gates, candidates = self.gate_and_candidate(x).chunk(2, dim=-1)
        gates, candidates = gates.sigmoid(), torch.where(candidates >= 0, candidates + 0.5, candidates.sigmoid())
        h, states = torch.zeros_like(candidates[:, 0]), []
        for z, candidate in zip(gates.unbind(1), candidates.unbind(1), strict=True):
            h = torch.lerp(h, candidate, z)
            states.append(h)
        return torch.stack(states, dim=1)


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    return Publication(MinGRU().eval(), "min_gru", inputs={"x": Floats("batch", "sequence", 4)}, outputs=["states"])
