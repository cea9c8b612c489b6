"""Axes that are empty within a graph: what is chosen by values may be nothing, and so may a part of one step."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx, scan
from rnnserve.export.parity import OnnxRunner
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.repository.model import reraise


class _Of(nn.Module):
    """Computes of x (batch, steps, 3) and flags."""

    def __init__(self, compute, *layers):
        super().__init__()
        self.compute, self.layers = compute, nn.ModuleList(layers)

    def forward(self, x, keep):
        return self.compute(x, keep, *self.layers)


def _export(compute, *layers, flags="steps", sizes=None):
    module = _Of(compute, *layers).eval()
    x, keep = torch.randn(4, 5, 3), torch.ones(4 if flags == "batch" else 5, dtype=torch.bool)
    with torch.no_grad():
        count = len(module(x, keep))
    program = export_onnx(
        module,
        (x, keep),
        input_names=["x", "keep"],
        output_names=[f"y{at}" for at in range(count)],
        dynamic_shapes=({0: "batch", 1: "steps"}, {0: flags}),
        sizes=sizes or {},
    )
    return module, program.model_proto.SerializeToString()


def _assert_same(module, model, x, keep):
    found = OnnxRunner(model)({"x": x.numpy(), "keep": keep.numpy()})
    with torch.no_grad():
        for expected, other in zip(module(x, keep), found.values(), strict=True):
            np.testing.assert_allclose(other, expected.numpy(), rtol=1e-5, atol=1e-6)


def _over_steps(x, keep):
    chosen = x[:, keep]
    whole = chosen.long()
    return (
        *((chosen > 0).any(1), (chosen > 0).all(1), chosen.any(), chosen.all()),
        *(whole.sum(1), chosen.prod(1), chosen.prod(), chosen.norm(dim=1), chosen.cumsum(1)),
    )


def _over_rows(x, keep, rnn):
    chosen = x[keep]
    return (*rnn(chosen), chosen.amax(1))


@pytest.mark.parametrize("of", ["steps", "batch"])
def test_empty_selection_is_computed_as_in_eager(of):
    layers = [nn.RNN(3, 2, batch_first=True)] if of == "batch" else []
    module, model = _export(_over_rows if layers else _over_steps, *layers, flags=of)
    size = 4 if of == "batch" else 5
    for keep in (torch.zeros(size), torch.ones(size), torch.arange(size) == 2):
        _assert_same(module, model, torch.randn(4, 5, 3), keep.bool())


def _sums(x):
    states, sums = scan(lambda states, steps: ([states[0] + steps[0]],) * 2, [x.new_zeros(x.size(0), 3)], [x], dim=1)
    return *states, *sums


_REFUSED = {
    "the index of the largest of no values": lambda x, keep: (x[:, keep].argmax(1),),
    "a GRU over no steps": lambda x, keep, gru: gru(x[:, keep]),
    "a scan over no steps": lambda x, keep: _sums(x[:, keep]),
}
_OTHERWISE = {
    "the mean of no values": lambda x, keep: (x[:, keep].mean(1),),
    "a running result over no steps": lambda x, keep: (x[:, keep].logcumsumexp(1),),
}


@pytest.mark.parametrize("why", [*_REFUSED, *_OTHERWISE])
def test_operator_without_a_result_for_no_values_fails_with_a_message(why):
    layers = [nn.GRU(3, 2, batch_first=True)] if "GRU" in why else []
    module, model = _export((_REFUSED | _OTHERWISE)[why], *layers)
    x, nothing = torch.randn(4, 5, 3), torch.zeros(5).bool()
    _assert_same(module, model, x, ~nothing)
    if why in _REFUSED:
        with pytest.raises((RuntimeError, IndexError, UnsupportedModule)), torch.no_grad():
            module(x, nothing)
    with pytest.raises(RuntimeError, match="cannot run") as raised:
        OnnxRunner(model)({"x": x.numpy(), "keep": nothing.numpy()})
    said = why.replace("a running result", "a scan")
    with pytest.raises(InvalidRequest, match=f"computes {said}.*, which is an error"):
        reraise(raised.value)


def test_layer_without_rows_fails_the_request():
    _, model = _export(lambda x, keep, rnn: rnn(x[keep])[:1], nn.GRU(3, 2, batch_first=True), flags="batch")
    with pytest.raises(RuntimeError, match="cannot run") as raised:
        OnnxRunner(model)({"x": np.ones((4, 5, 3), np.float32), "keep": np.zeros(4, np.bool_)})
    with pytest.raises(InvalidRequest, match=r"over no steps, or of no rows.*, which is an error"):
        reraise(raised.value)


def test_graph_without_empty_axes_has_no_guard():
    def compute(x, keep, gru):
        del keep
        return gru(x[:, 2:])[0].mean(1), x.mean(1), x.amax(1), x.cumprod(1)

    for sizes, is_guarded in (({"steps": (3, None)}, False), ({"steps": (2, None)}, True)):
        _, model = _export(compute, nn.GRU(3, 2, batch_first=True), sizes=sizes)
        assert (b"refused_as_in_eager" in model) is is_guarded
