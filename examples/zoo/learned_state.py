"""A forecaster with a learned initial state, which is neither zero nor an input."""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "forecasters with a learned h_0"


class Forecaster(nn.Module):
    """A GRU that predicts the next value after each step."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.h_0 = nn.Parameter(torch.randn(1, 1, hidden))
        self.gru, self.predict = nn.GRU(1, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return forecasts (batch, sequence, 1) for values (batch, sequence, 1)."""
        output, _ = self.gru(values, self.h_0.expand(-1, values.size(0), -1).contiguous())
        return self.predict(output)


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    inputs = {"values": Floats("batch", "sequence", 1)}
    return Publication(Forecaster().eval(), "learned_state", inputs=inputs, outputs=["forecasts"])
