"""Numbers that each request has of its own, in a module with a loop over its steps."""

import numpy as np
import torch
from torch import nn

from rnnserve.export import Floats, Integers, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner


class Sampler(nn.Module):
    """One temperature and one limit for a call; states of layers first; a loop over the steps."""

    def __init__(self):
        super().__init__()
        self.gru, self.cell = nn.GRU(3, 4), nn.GRUCell(4, 4)

    def forward(self, x, lengths, temperature, most, h_0):
        output, h_n = self.gru(x, h_0)
        h, outputs = h_0[0], []
        for each in output.unbind(0):
            h = self.cell(each / temperature, h)
            outputs.append(h.clamp(max=most.float()))
        inside = torch.arange(x.size(0)).unsqueeze(1) < lengths
        return torch.stack(outputs) * inside.unsqueeze(2), h_n


SAMPLER = {
    "x": Floats("sequence", "batch", 3),
    "lengths": Lengths(),
    "temperature": Floats(low=0.5, high=2.0),
    "most": Integers(high=2),
    "h_0": Floats(1, "batch", 4),
}


def test_number_of_each_request_is_exported():
    torch.manual_seed(0)
    module = Sampler().eval()
    model = describe_model(Publication(module, "m", SAMPLER, ["output", "h_n"], {"h_n": "h_0"}))
    names = {tensor.name: [axis.name for axis in tensor.axes] for tensor in model.outputs}
    assert [names["output"][:2], names["h_n"][1]] == [["sequence", "batch"], "batch"]
    x, lengths, h_0 = torch.randn(6, 3, 3), torch.tensor([6, 2, 4]), torch.randn(1, 3, 4)
    temperature, most = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0, 1, 1])
    given = {"x": x, "lengths": lengths, "temperature": temperature, "most": most, "h_0": h_0}
    found = OnnxRunner(to_onnx(model))({name: each.numpy() for name, each in given.items()})
    for at in range(3):
        row = slice(at, at + 1)
        expected = module(x[:, row], lengths[row], temperature[at], most[at], h_0[:, row])
        assert np.allclose(found["output"][:, row], expected[0].detach(), atol=1e-6)
        assert np.allclose(found["h_n"][:, row], expected[1].detach(), atol=1e-6)
