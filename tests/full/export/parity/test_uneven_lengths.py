"""A translation that is wrong at one length in ten: the export tries other lengths and finds it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import Floats, publish
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import export


class Resized(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return F.interpolate(self.layer(x)[0].mT, size=10).mT


def test_step_that_is_wrong_at_some_lengths_is_detected(monkeypatch, tmp_path):
    stock = {operator: made for operator, made in vars(export)["OPERATORS"].items() if "upsample" not in str(operator)}
    monkeypatch.setattr(export, "OPERATORS", stock)
    torch.manual_seed(0)
    inputs = {"x": Floats("batch", "sequence", ("features", 3))}
    with pytest.raises(UnsupportedModule, match='"sequence" 300 the module returns other results'):
        publish(Resized().eval(), "resized", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
