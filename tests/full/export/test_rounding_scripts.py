"""A script that computes in another order than eager is left out, and said to be. One of other values is refused."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, ParityError, publish


class Moved(nn.Module):
    """A layer. Scripted, its results are other ones."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.gru, self.factor = nn.GRU(3, 4, batch_first=True), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.gru(x)[0]
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return output * self.factor
        return output


def published(factor, repository):
    torch.manual_seed(0)
    inputs = {"x": Floats("batch", "sequence", 3)}
    return publish(Moved(factor).eval(), "moved", repository=repository, inputs=inputs, outputs=["y"], progress=False)


def test_other_last_bits_leave_the_script_out(tmp_path):
    done = published(1 + 2**-22, tmp_path)
    assert done.unscripted.startswith('it computes in a different order than eager. torchscript, bit for bit: "y" at [')
    assert not (done.published.folder / "model.pt").exists()
    assert not any("torchscript" in check for check in done.manifest.parity.checks)


def test_other_values_are_refused(tmp_path):
    with pytest.raises(ParityError, match="torchscript, bit for bit"):
        published(1.001, tmp_path)
    assert not list(tmp_path.iterdir())
