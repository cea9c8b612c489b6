"""Modules that take one row, and numbers that each request has of its own: batches run row by row."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.own_modules import SAMPLER_INPUTS, Sampler
from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.errors import WrongArguments
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner


def test_forgotten_batch_axis_is_named():
    inputs = {**SAMPLER_INPUTS, "h_0": Floats(1, 4)}
    with pytest.raises(WrongArguments, match=r'^input "temperature" has no axis "batch", .* raises \w+Error: .*h_0|hx'):
        describe_model(Publication(Sampler(), "m", inputs, ["output", "h_n"], {"h_n": "h_0"}))


class Controller(nn.Module):
    """A step of a loop, for one row: (features,), (hidden,)."""

    def __init__(self):
        super().__init__()
        self.gates, self.act = nn.Linear(3 + 4, 4), nn.Linear(4, 2)

    def forward(self, observation, h):
        assert observation.shape == (3,), "one row"
        h = torch.tanh(h + torch.sigmoid(self.gates(torch.cat([observation, h]))))
        return {"action": self.act(h), "h": h}


def test_step_for_one_row_takes_batches():
    torch.manual_seed(0)
    module, inputs = Controller().eval(), {"observation": Floats(3), "h": Floats(4, initial=np.arange(4.0))}
    model = describe_model(Publication(module, "m", inputs, ["action", "h_n"], {"h_n": "h"}))
    assert [tensor.axes[0].name for tensor in model.inputs] == ["batch", "batch"]
    rows = {"observation": torch.randn(5, 3), "h": torch.randn(5, 4)}
    found = OnnxRunner(to_onnx(model))({name: rows[name].numpy() for name in rows})
    expected = [module(*row)["action"].detach().numpy() for row in zip(*rows.values(), strict=True)]
    np.testing.assert_allclose(found["action"], expected, atol=1e-6)
