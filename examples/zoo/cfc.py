"""CfC, a closed-form continuous-time cell (Hasani et al. 2022, package ncps), in a loop over steps.

Each step also reads the time since the previous step, so the steps of a series can have irregular intervals.
"""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "ncps CfC"


class CfC(nn.Module):
    """A backbone with two heads. A gate that depends on the elapsed time mixes the heads."""

    def __init__(self, features: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.hidden = hidden
        self.backbone = nn.Linear(features + hidden, 16)
        self.first, self.second, self.speed, self.shift = (nn.Linear(16, hidden) for _ in range(4))

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return states (batch, sequence, hidden) for x (batch, sequence, features), elapsed (batch, sequence, 1)."""
        h, states = x.new_zeros(x.size(0), self.hidden), []
        for t in range(x.size(1)):
            each = torch.tanh(self.backbone(torch.cat([x[:, t], h], dim=1)))
            gate = torch.sigmoid(self.speed(each) * elapsed[:, t] + self.shift(each))
            h = torch.tanh(self.first(each)) * (1 - gate) + torch.tanh(self.second(each)) * gate
            states.append(h)
        return torch.stack(states, dim=1)


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    inputs = {"x": Floats("batch", "sequence", 3), "elapsed": Floats("batch", "sequence", 1, low=0.0, high=2.0)}
    return Publication(CfC().eval(), "cfc", inputs=inputs, outputs=["states"])
