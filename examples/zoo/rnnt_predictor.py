"""The predictor of an RNN-T (Graves 2012): an LSTM. The decoder keeps its states between tokens."""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Integers, Publication

WRITTEN_LIKE = "torchaudio RNNT predictor"


class Predictor(nn.Module):
    """The decoder calls the predictor after each chosen token. Each hypothesis is one row."""

    def __init__(self, tokens: int = 30, hidden: int = 8) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(tokens, hidden), nn.LSTM(hidden, hidden, batch_first=True)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, tokens: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (batch, sequence, hidden), and h_n and c_n (layers, batch, hidden)."""
        output, (h_n, c_n) = self.lstm(self.embed(tokens), (h_0, c_0))
        return self.norm(output), h_n, c_n


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    state = Floats(("layers", 1), "batch", ("hidden", 8))
    return Publication(
        Predictor().eval(),
        "rnnt_predictor",
        inputs={"tokens": Integers("batch", "sequence", high=30), "h_0": state, "c_0": state},
        outputs=["features", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
    )
