"""A voice activity detector as an ONNX file from PyTorch's own exporter, for `rnnserve import`.

Like silero-vad, each call takes 64 samples of sound and a state, and returns the probability of speech.
"""

import argparse
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

WRITTEN_LIKE = "silero-vad, a foreign file"


class Vad(nn.Module):
    """An LSTM cell that reads a window of sound and returns one probability."""

    def __init__(self, samples: int = 64, hidden: int = 8) -> None:
        super().__init__()
        self.features, self.cell, self.speech = nn.Linear(samples, 8), nn.LSTMCell(8, hidden), nn.Linear(hidden, 1)

    def forward(self, sound: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return speech (batch, 1) and the next state (2, batch, hidden) for sound (batch, samples) and a state."""
        h, c = self.cell(torch.relu(self.features(sound)), (state[0], state[1]))
        return torch.sigmoid(self.speech(h)), torch.stack([h, c])


def write(file: Path) -> None:
    """Write the ONNX file without using rnnserve."""
    torch.manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # hide its advice to install torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Vad().eval(),
            (torch.zeros(3, 64), torch.zeros(2, 3, 8)),
            dynamo=True,
            verbose=False,
            input_names=["sound", "state"],
            output_names=["speech", "state_n"],
            dynamic_shapes=({0: "batch"}, {1: "batch"}),
        )
    assert program is not None  # noqa: S101 - only torch's older exporter returns None
    program.save(file)


OPTIONS = ["--name", "vad", "--state", "state_n=state"]
"""Options of `rnnserve import` that this file needs."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the ONNX file for `rnnserve import`.")
    parser.add_argument("file", type=Path)
    write(parser.parse_args().file)
