"""A Conv1d before an LSTM, without lengths. The result depends on the last step, so padding would change it.

The published version has the batching mode JOINED: the server batches only requests of equal length, and the client
groups sequences by length. The manifest records the reason: the model has no input with the lengths of padded rows.

Run it with `python examples/conv_lstm.py`, or publish it with `rnnserve export examples/conv_lstm.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.server.testing import serve

LABELS = ["slow", "fast"]


class ConvLstm(nn.Module):
    """A convolution over time, an LSTM, and a linear layer that reads the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 8, kernel_size=3, padding=1)
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.classify = nn.Linear(16, len(LABELS))

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits (batch, classes) float32 for a signal (batch, sequence, 1) float32."""
        features = torch.relu(self.conv(signal.transpose(1, 2))).transpose(1, 2)  # (batch, sequence, channels)
        output, _ = self.lstm(features)
        return self.classify(output[:, -1])


def train(module: ConvLstm, steps: int = 40) -> None:
    """Train to distinguish slow and fast sine waves of 20 values each."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        fast = torch.randint(0, 2, (32,))
        step = 0.2 + 1.2 * fast[:, None, None]
        signal = torch.sin(6 * torch.rand(32, 1, 1) + step * torch.arange(20)[:, None])
        loss = nn.functional.cross_entropy(module(signal), fast)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = ConvLstm()
    train(module)
    inputs = {"signal": Floats("batch", "sequence", ("features", 1))}
    return Publication(module.eval(), "conv_lstm", inputs=inputs, outputs=["logits"], labels=LABELS)


if __name__ == "__main__":
    it = publication()
    signals = [np.sin(step * np.arange(size, dtype=np.float32))[:, None] for step, size in ((0.2, 20), (1.4, 15))]
    with tempfile.TemporaryDirectory() as repository:
        batching = publish(it, repository=repository).manifest.batching
        print(batching)  # the batching mode, and the reasons for it
        with serve(repository) as server, Client(server.address) as client:
            for signal, result in zip(signals, client.classify("conv_lstm", signals), strict=True):
                eager = it.module(torch.from_numpy(signal[None]))
                np.testing.assert_allclose(result.logits, eager[0].detach(), rtol=1e-4, atol=1e-5)
                print(result.label, result.probabilities)
