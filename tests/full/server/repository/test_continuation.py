"""Whether sequences may be cut into requests: found out by cutting them, before a version serves."""

import pytest
import torch

from kit.loaded import load_model
from rnnserve.export import Floats, Integers, publish
from rnnserve.export.found_states.parts_file import parts_failures
from rnnserve.export.verify import verify_version
from rnnserve.protos.artifact import read_version


class Counting(torch.nn.Module):
    """A GRU's output (batch, sequence, 2) as far as the first 600 steps, of a request or of the sequence."""

    def __init__(self, *, of_the_sequence):
        super().__init__()
        self.gru = torch.nn.GRU(2, 2, batch_first=True)
        self.of_the_sequence = of_the_sequence

    def forward(self, x, h_0, position):
        y, h_n = self.gru(x, h_0)
        steps = torch.arange(x.size(1))[None]
        counted = position[:, None] + steps if self.of_the_sequence else steps
        return y * (counted < 600)[:, :, None], h_n, position + x.size(1)


@pytest.mark.parametrize("of_the_sequence", [True, False])
def test_model_that_counts_the_steps_of_a_request_refuses_parts(tmp_path, of_the_sequence):
    """No sequence of a trial has 600 steps: the graph tells it, and the manifest."""
    inputs = {
        "x": Floats("batch", "sequence", 2),
        "h_0": Floats(1, "batch", ("hidden", 2)),
        "position": Integers("batch", high=4000),
    }
    publish(
        Counting(of_the_sequence=of_the_sequence).eval(),
        "counting",
        repository=tmp_path,
        inputs=inputs,
        outputs=["y", "h_n", "position_n"],
        states={"h_n": "h_0", "position_n": "position"},
        progress=False,
    )
    folder = tmp_path / "counting" / "1"
    model = load_model(folder, "counting")
    assert model.continues == of_the_sequence
    if of_the_sequence:
        assert "cutting a sequence changes" not in model.why_not_in_parts
        return
    assert model.why_not_in_parts.startswith("cutting a sequence changes its output")
    assert model.why_not_in_parts == read_version(folder).manifest.parts.not_continued
    assert not any(check.failures for check in verify_version(folder, progress=False))
    version = read_version(folder)
    version.manifest.parts.not_continued = ""
    (said,) = parts_failures(version)
    assert said.endswith(f'but found "{model.why_not_in_parts}"')
