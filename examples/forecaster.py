"""Predict a sensor's next value with an LSTM. Its states continue the series after the end of the last request.

Run it with `python examples/forecaster.py`, or publish it with `rnnserve export examples/forecaster.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.server.testing import serve

HIDDEN = 32


class Forecaster(nn.Module):
    """An LSTM that predicts the next value after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN, batch_first=True)
        self.predict = nn.Linear(HIDDEN, 1)

    def forward(self, values: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return forecasts (batch, sequence, 1), and h_n and c_n (layers, batch, hidden), all float32."""
        output, (h_n, c_n) = self.lstm(values, state)
        return self.predict(output), (h_n, c_n)


def zeros(batch: int) -> tuple[Tensor, Tensor]:
    """Return the initial states of a series."""
    return torch.zeros(1, batch, HIDDEN), torch.zeros(1, batch, HIDDEN)


def waves(batch: int, steps: int) -> Tensor:
    """Return sine waves with random phase and frequency, (batch, steps, 1) float32."""
    return torch.sin(6 * torch.rand(batch, 1, 1) + (0.1 + torch.rand(batch, 1, 1) / 2) * torch.arange(steps)[:, None])


def train(module: Forecaster, steps: int = 60) -> None:
    """Train on waves of 25 values. The targets are the same waves, shifted by one step."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        series = waves(32, 25)
        loss = nn.functional.mse_loss(module(series[:, :-1], zeros(32))[0], series[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = Forecaster()
    train(module)
    state = Floats(("layers", 1), "batch", ("hidden", HIDDEN))
    return Publication(
        module.eval(),
        "forecaster",
        inputs={"values": Floats("batch", "sequence", ("features", 1)), "state": {"h_0": state, "c_0": state}},
        outputs=["forecasts", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
    )


if __name__ == "__main__":
    it, series = publication(), waves(1, 20)
    with tempfile.TemporaryDirectory() as repository:
        publish(it, repository=repository)
        with serve(repository) as server, Client(server.address) as client:
            first = client.predict("forecaster", [series[0, :12].numpy()])
            second = client.predict("forecaster", [series[0, 12:].numpy()], continue_from=first)
        forecasts = np.concatenate([first[0]["forecasts"], second[0]["forecasts"]])
        eager, _ = it.module(series, zeros(1))
        np.testing.assert_allclose(forecasts, eager[0].detach(), rtol=1e-4, atol=1e-5)
        print(f"the next value: {forecasts[-1, 0]:.3f}")
