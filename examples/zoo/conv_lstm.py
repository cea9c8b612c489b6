"""ConvLSTM (Shi et al. 2015): an LSTM for the frames of a video, with images as states."""

import torch
from torch import Tensor, nn

from rnnserve.export import Floats, Publication

WRITTEN_LIKE = "ConvLSTM_pytorch"


class ConvLSTM(nn.Module):
    """An LSTM with a convolution instead of a linear layer."""

    def __init__(self, channels: int = 1, hidden: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel_size=3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the last state (batch, hidden, height, width) of frames (batch, sequence, channels, height, width)."""
        batch, length, _, height, width = frames.shape
        h = c = frames.new_zeros(batch, self.hidden, height, width)
        for t in range(length):
            i, f, o, g = self.gates(torch.cat([frames[:, t], h], dim=1)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    frames = Floats("batch", "sequence", ("channels", 1), ("height", 4), ("width", 5))
    return Publication(ConvLSTM().eval(), "conv_lstm", inputs={"frames": frames}, outputs=["h_n"])
