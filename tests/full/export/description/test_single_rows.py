"""Numbers that each request has of its own, in a module with a loop over its steps."""

import numpy as np
import torch

from kit.own_modules import SAMPLER_INPUTS, Sampler
from rnnserve.export import Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner


def test_number_of_each_request_is_exported():
    torch.manual_seed(0)
    module = Sampler().eval()
    model = describe_model(Publication(module, "m", SAMPLER_INPUTS, ["output", "h_n"], {"h_n": "h_0"}))
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
