"""Make the model of `rnnserve demo`, which is part of the package: `make demo-model`.

After each bit of a sequence, the model outputs whether the number of ones so far is odd. Its weights are set by hand
and it computes only with small integers, so its files are the same on every machine.
"""

import importlib
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from rnnserve.export import Integers, publish

__all__ = ["FOLDER", "MODEL", "OddOnes", "make"]

FOLDER = Path(__file__).parent / "rnnserve" / "load" / "demo_models"
MODEL = "odd_ones"


class OddOnes(nn.Module):
    """Computes after each bit whether the number of ones so far is odd. Its forward has no states."""

    def __init__(self) -> None:
        super().__init__()
        # With p = h[0] - 2 * h[1], which is 0 or 1: h = relu([x + p, x + p - 1]), and x xor p = h[0] - 2 * h[1].
        self.rnn = nn.RNN(1, 2, nonlinearity="relu", batch_first=True)
        self.odd = nn.Linear(2, 1, bias=False)
        weights = {
            "rnn.weight_ih_l0": [[1.0], [1.0]],
            "rnn.weight_hh_l0": [[1.0, -2.0], [1.0, -2.0]],
            "rnn.bias_ih_l0": [0.0, -1.0],
            "rnn.bias_hh_l0": [0.0, 0.0],
            "odd.weight": [[1.0, -2.0]],
        }
        self.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        """Return 1 if the number of ones so far is odd, else 0: (batch, sequence) int64 for (batch, sequence) int64."""
        hidden, _ = self.rnn(bits.to(torch.float32).unsqueeze(-1))
        odd: torch.Tensor = self.odd(hidden).squeeze(-1).to(torch.int64)
        return odd


def make(repository: Path) -> None:
    """Publish the model as the only version in a repository."""
    inputs = {"bits": Integers("batch", "sequence", high=2)}
    publish(OddOnes().eval(), MODEL, repository=repository, inputs=inputs, outputs=["odd"], progress=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        importlib.import_module("make_demo_model").make(Path(folder))  # model.pt has the module's name: not __main__
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(folder, FOLDER)
