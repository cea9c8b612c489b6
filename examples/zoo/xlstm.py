"""The sLSTM of xLSTM (Beck et al. 2024, package xlstm): exponential gates, and a state of four tensors in a dict."""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "xlstm sLSTM"


class SLSTM(nn.Module):
    """An LSTM with exponential gates. The normalizer n and the stabilizer m keep the gates in range."""

    def __init__(self, features: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input, self.of_state = nn.Linear(features, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, sequence, hidden) for x (batch, sequence, features)."""
        state = {name: x.new_zeros(x.size(0), self.hidden) for name in "hcnm"}
        outputs = []
        for x_t in x.unbind(1):
            state = self.step(x_t, state)
            outputs.append(state["h"])
        return torch.stack(outputs, dim=1)

    def step(self, x: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state after one step, as tensors (batch, hidden) by name."""
        i, f, z, o = (self.of_input(x) + self.of_state(state["h"])).chunk(4, dim=-1)
        kept = nn.functional.logsigmoid(f) + state["m"]
        m = torch.maximum(kept, i)
        forget, write = torch.exp(kept - m), torch.exp(i - m)
        c = forget * state["c"] + write * torch.tanh(z)
        n = forget * state["n"] + write
        return {"h": torch.sigmoid(o) * c / n, "c": c, "n": n, "m": m}


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    return Publication(SLSTM().eval(), "xlstm", inputs={"x": Floats("batch", "sequence", 3)}, outputs=["h"])
