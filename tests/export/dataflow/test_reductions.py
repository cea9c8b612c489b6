"""Reductions and normalisations: over any axes but the batch, rows are proven apart; over the batch, refuted."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rnnserve.export import export_onnx
from rnnserve.export.dataflow import Property, Verdict, decide
from rnnserve.protos import manifest_pb2


def var_mean(x, dim):
    var, mean = torch.var_mean(x, dim, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-6)


# Each of x (batch, sequence, 4) and the axes: one or several.
OVER = {
    "mean": lambda x, dim: x - x.mean(dim, keepdim=True),
    "sum": lambda x, dim: x - x.sum(dim, keepdim=True),
    "std": lambda x, dim: (x - x.mean(dim, keepdim=True)) / (x.std(dim, keepdim=True) + 1e-9),
    "std of all": lambda x, dim: x / (x.std(dim, keepdim=True, correction=0) + 1e-6),
    "var": lambda x, dim: x / (x.var(dim, keepdim=True) + 1e-6),
    "var_mean": var_mean,
    "norm": lambda x, dim: x / (x.norm(dim=dim, keepdim=True) + 1e-6),
    "norm of 1": lambda x, dim: x / (torch.linalg.vector_norm(x, 1, dim=dim, keepdim=True) + 1e-6),
    "norm of 3": lambda x, dim: x / (torch.linalg.vector_norm(x, 3, dim=dim, keepdim=True) + 1e-6),
    "largest": lambda x, dim: x - x.amax(dim, keepdim=True),
    "smallest": lambda x, dim: x - x.amin(dim, keepdim=True),
    "logsumexp": lambda x, dim: x - x.logsumexp(dim, keepdim=True),
    "count": lambda x, dim: x / ((x > 0).sum(dim, keepdim=True) + 1),
    "nanmean": lambda x, dim: x - x.nanmean(dim, keepdim=True),
}
# Of one axis each.
ALONG = {
    "softmax": lambda x, dim: x.softmax(dim),
    "log_softmax": lambda x, dim: x.log_softmax(dim),
    "masked softmax": lambda x, dim: x.masked_fill(x < 0, float("-inf")).softmax(dim).nan_to_num(),
    "normalize": lambda x, dim: functional.normalize(x, dim=dim),
    "prod": lambda x, dim: x - x.prod(dim, keepdim=True),
    "any": lambda x, dim: x * (x > 3).any(dim, keepdim=True),
    "all": lambda x, dim: x * (x > -3).all(dim, keepdim=True),
    "argmax": lambda x, dim: x + x.argmax(dim, keepdim=True),
    "cumsum": lambda x, dim: x.cumsum(dim),
    "mean by size": lambda x, dim: x - x.sum(dim, keepdim=True) / x.shape[dim],
}
# Of the features, or of the sequence.
LAYERS = {
    "layer_norm": lambda x: functional.layer_norm(x, (4,)),
    "rms_norm": lambda x: functional.rms_norm(x, (4,)),
    "group_norm": lambda x: functional.group_norm(x.transpose(1, 2), 2).transpose(1, 2),
    "instance_norm": lambda x: functional.instance_norm(x.transpose(1, 2)).transpose(1, 2),
}


class All(nn.Module):
    def __init__(self, uses):
        super().__init__()
        self.uses = uses

    def forward(self, x):
        return tuple(use(x) for use in self.uses)


def verdicts(uses):
    """Give what is decided of the rows in the graph of each use."""
    axes = [("batch", -1), ("sequence", -1), ("features", 4)]
    described = [manifest_pb2.Axis(name=name, size=size) for name, size in axes]
    names = [f"y{at}" for at in range(len(uses))]
    program = export_onnx(
        All(list(uses.values())).eval(),
        (torch.randn(2, 3, 4),),
        input_names=["x"],
        output_names=names,
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    outputs = [manifest_pb2.Tensor(name=name, axes=described) for name in names]
    inputs = [manifest_pb2.Tensor(name="x", axes=described)]
    found = decide(program.model_proto, inputs, outputs)[Property.ROWS]
    return {use: found[name].verdict for use, name in zip(uses, names, strict=True)}


def over(dim):
    uses = OVER if isinstance(dim, tuple) else OVER | ALONG
    return {name: lambda x, use=use: use(x, dim) for name, use in uses.items()}


@pytest.mark.parametrize("dim", [-1, 1, (1, 2)])
def test_over_other_axes_than_the_batch(dim):
    assert {name: verdict for name, verdict in verdicts(over(dim)).items() if verdict is not Verdict.PROVEN} == {}


@pytest.mark.parametrize("dim", [0, (0, 2), (0, 1)])
def test_over_the_batch(dim):
    assert {name: verdict for name, verdict in verdicts(over(dim)).items() if verdict is not Verdict.REFUTED} == {}


def test_layers():
    assert {name: verdict for name, verdict in verdicts(LAYERS).items() if verdict is not Verdict.PROVEN} == {}


def test_each_entry_of_a_shape_counts_for_itself():
    uses = {
        "features": lambda x: x / x.shape[-1],
        "steps": lambda x: x / x.shape[1],
        "values of a row": lambda x: x / x[0].numel(),
        "rows": lambda x: x / x.shape[0],
        "values": lambda x: x / x.numel(),
    }
    found = verdicts(uses)
    assert [name for name, verdict in found.items() if verdict is Verdict.PROVEN] == list(uses)[:3]
    assert [name for name, verdict in found.items() if verdict is Verdict.REFUTED] == list(uses)[3:]
