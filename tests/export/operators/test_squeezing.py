"""An axis that is named to `squeeze` stays where its size is not 1."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.parity import OnnxRunner


class _Squeezed(nn.Module):
    """Squeezes x (batch, sequence, 2), and axes of 1 in it, by several ways of naming axes."""

    def forward(self, x):
        one = x[:, None, :, None]
        return (
            x.squeeze(2),
            x.squeeze(-1) * 2,
            x.mT.squeeze(1),
            one.squeeze(1),
            one.squeeze(-2),
            one.squeeze((1, 3, -1)),
            one.squeeze((-1, -2)),
            x.sum().squeeze(0),
            x.sum(1, keepdim=True).squeeze(1),
        )


def _export(module):
    names = [f"y{number}" for number in range(len(module(torch.ones(3, 4, 2))))]
    return export_onnx(
        module,
        (torch.randn(3, 4, 2),),
        input_names=["x"],
        output_names=names,
        dynamic_shapes={"x": {0: "batch", 1: "sequence"}},
    )


def test_axes_of_other_sizes_stay():
    module = _Squeezed()
    runner = OnnxRunner(_export(module).model_proto.SerializeToString())
    for sizes in [(1, 1), (2, 2), (1, 7), (5, 1)]:
        x = torch.randn(*sizes, 2)
        for found, expected in zip(runner({"x": x.numpy()}).values(), module(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected)


class _OfSteps(nn.Module):
    def forward(self, x):
        return (x.squeeze(1),)


def test_an_axis_that_is_one_at_some_lengths_is_refused():
    with pytest.raises(UnsupportedModule, match="special case"):
        _export(_OfSteps())
