"""Modules whose parts have names that torch's graphs use themselves are published as any others."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.served_modules import publication_of
from rnnserve.export import publish
from rnnserve.export.parity import OnnxRunner


class Named(nn.Module):
    """Holds a layer under a name."""

    def __init__(self, name):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.name = name
        self.add_module(name, nn.Linear(4, 2))

    def forward(self, x):
        return self._modules[self.name](self.rnn(x)[0])


@pytest.mark.parametrize("name", ["code", "graph"])
def test_a_part_may_have_such_a_name(name, tmp_path):
    module = Named(name)
    publish(publication_of(module, "named"), repository=tmp_path, progress=False)
    run = OnnxRunner((tmp_path / "named" / "1" / "model.onnx").read_bytes())
    x = np.random.default_rng(1).standard_normal((2, 7, 3), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run({"x": x})["y"], module(torch.from_numpy(x)).numpy(), atol=1e-6)
