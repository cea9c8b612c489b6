"""A mask of n steps that a module keeps in a cache is exported for each size, and the cache is left as it was."""

import functools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from rnnserve.export import export_onnx


@functools.lru_cache(maxsize=4)
def lower(size):
    return torch.tril(torch.ones(size, size)) / size


@functools.cache
def weights(size):
    kept = []
    for t in range(size):
        kept.append(torch.full((4,), 0.5) * (t + 1))  # noqa: PERF401 - as users write it
    return torch.stack(kept)


def closed():
    kept = functools.lru_cache(lambda size: torch.arange(size).float())
    return lambda y: y * kept(y.size(1))[:, None], kept


class Kept(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.compute = compute

    def forward(self, x):
        return self.compute(self.gru(x)[0])


class InMethod(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 4, batch_first=True)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - as users write it
    def mask(self, size):
        return lower.__wrapped__(size)

    def forward(self, x):
        return self.mask(x.size(1)) @ self.gru(x)[0]


_CLOSED, _IN_CLOSURE = closed()
MODULES = {
    "function": (Kept(lambda y: lower(y.size(1)) @ y), lower),
    "loop": (Kept(lambda y: y * weights(y.size(1))), weights),
    "closure": (Kept(_CLOSED), _IN_CLOSURE),
    "method": (InMethod(), InMethod.mask),
}


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_caches_are_passed_by_and_hold_what_they_held(name, dynamic):
    module, cache = MODULES[name]
    module.eval()
    cache.cache_clear()
    axes = {0: "batch", 1: "sequence"} if dynamic else {0: "batch"}
    program = export_onnx(
        module, (torch.zeros(2, 5, 4),), input_names=["x"], output_names=["y"], dynamic_shapes=(axes,)
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows, steps in ((1, 1), (3, 9)) if dynamic else ((1, 5), (3, 5)):
        x = torch.randn(rows, steps, 4)
        with torch.no_grad():
            expected = module(x)
        assert type(expected) is torch.Tensor  # and none without values, that the capture has left
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected.numpy(), rtol=1e-5, atol=1e-6)
        hits = cache.cache_info().hits
        module(x)
        assert cache.cache_info().hits == hits + 1  # it is in its place again
