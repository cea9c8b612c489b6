"""Loops that are linear attention become onnxruntime's operator; loops that differ from it in anything stay a Scan."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.parity import OnnxRunner

HEADS, WIDE = 2, 4


class Loop(nn.Module):
    """A loop over steps of queries, keys, values (batch, sequence, heads, d), decays and rates."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x, state):
        q, k, v, g, b = x.split([HEADS * WIDE] * 3 + [HEADS] * 2, -1)
        q, k, v = (each.view(*x.shape[:2], HEADS, WIDE) for each in (q, k, v))
        q, k = (each / (each.square().sum(-1, keepdim=True) + 1).sqrt() for each in (q, k))  # or it diverges
        if self.step is shared:
            q, k = q[:, :, 0], k[:, :, 0]
        found = []
        for t in range(x.shape[1]):
            y, state = self.step(state, q[:, t], k[:, t], v[:, t], -g[:, t].square(), b[:, t].sigmoid())
            found.append(y)
        return torch.stack(found, 1), state


def gated(s, q, k, v, g, b):
    s = torch.exp(g)[..., None, None] * s + torch.einsum("bhk,bhv->bhkv", k, v)
    return (q.unsqueeze(-1) * s).sum(-2) * 0.5, s


def shared(s, q, k, v, g, b):
    """The state of Mamba-2 has values before keys, and all heads share the keys."""
    s = s * g.exp()[..., None, None] + torch.einsum("bh,bn,bhp->bhpn", b, k, v)
    return torch.einsum("bhpn,bn->bhp", s, q), s


def gated_delta(s, q, k, v, g, b):
    s = s * g.exp()[..., None, None]
    s = s + k.unsqueeze(-1) * ((v - (s * k.unsqueeze(-1)).sum(-2)) * b.unsqueeze(-1)).unsqueeze(-2)
    return (s * q.unsqueeze(-1)).sum(-2), s


def reads_before(s, q, k, v, g, b):
    return torch.einsum("bhk,bhkv->bhv", q, s), s + k[..., None] * v[..., None, :]


def erases_before_decay(s, q, k, v, g, b):
    old = torch.einsum("bhkv,bhk->bhv", s, k)
    s = s * g.exp()[..., None, None] + k[..., None] * (b[..., None] * (v - old))[..., None, :]
    return torch.einsum("bhk,bhkv->bhv", q, s), s


def sigmoid_decay(s, q, k, v, g, b):
    s = b[..., None, None] * s + k[..., None] * v[..., None, :]
    return torch.einsum("bhk,bhkv->bhv", q, s), s


def erases_twice(s, q, k, v, g, b):
    s = s + k[..., None] * (b[..., None] * (v - 2 * torch.einsum("bhkv,bhk->bhv", s, k)))[..., None, :]
    return torch.einsum("bhk,bhkv->bhv", q, s), s


def exported(step):
    module = Loop(step).eval()
    sample = torch.randn(2, 5, 3 * HEADS * WIDE + 2 * HEADS), torch.randn(2, HEADS, WIDE, WIDE)
    axes = ({0: "batch", 1: "sequence"}, {0: "batch"})
    program = export_onnx(module, sample, input_names=["x", "s"], output_names=["y", "s_n"], dynamic_shapes=axes)
    return module, program


@pytest.mark.parametrize("step", [gated, shared, gated_delta])
def test_linear_attention_becomes_the_operator_with_equal_bits_in_parts(step):
    module, program = exported(step)
    operators = {node.op_type for node in program.model.graph}
    assert "LinearAttention" in operators
    assert "Scan" not in operators
    run = OnnxRunner(program.model_proto.SerializeToString())
    torch.manual_seed(0)
    x, s = torch.randn(3, 40, 3 * HEADS * WIDE + 2 * HEADS) * 0.3, torch.randn(3, HEADS, WIDE, WIDE)
    whole = run({"x": x.numpy(), "s": s.numpy()})
    with torch.no_grad():
        for expected, found in zip(module(x, s), whole.values(), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    first = run({"x": x[:, :1].numpy(), "s": s.numpy()})
    rest = run({"x": x[:, 1:].numpy(), "s": first["s_n"]})
    assert np.array_equal(np.concatenate([first["y"], rest["y"]], 1), whole["y"])
    alone = run({"x": x[1:2].numpy(), "s": s[1:2].numpy()})
    assert np.array_equal(alone["y"][0], whole["y"][1])


@pytest.mark.parametrize(
    "step",
    [
        sigmoid_decay,
        reads_before,
        erases_before_decay,
        erases_twice,
    ],
)
def test_computation_unlike_linear_attention_stays_a_scan(step):
    _, program = exported(step)
    operators = {node.op_type for node in program.model.graph}
    assert "Scan" in operators
    assert "LinearAttention" not in operators


class Chunks(nn.Module):
    """Sums within chunks of 8 steps, and what comes of earlier chunks. All steps of a short sample are one chunk."""

    def forward(self, x):
        padded = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 8))
        parts = padded.view(x.shape[0], -1, 8, x.shape[2])
        sums = parts.sum(2)
        before = torch.cat([torch.zeros_like(sums[:, :1]), sums.cumsum(1)], 1)[:, :-1]
        return (parts.cumsum(2) + before.unsqueeze(2)).flatten(1, 2)[:, : x.shape[1]]


class ChunkLoop(nn.Module):
    """A loop over chunks of 8 steps."""

    def forward(self, x):
        padded = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 8))
        parts, state, found = padded.view(x.shape[0], -1, 8, x.shape[2]), x.new_zeros(x.shape[0], 1, x.shape[2]), []
        for at in range(parts.shape[1]):
            found.append(parts[:, at].cumsum(1) + state)
            state = state + parts[:, at].sum(1, keepdim=True)
        return torch.cat(found, 1)[:, : x.shape[1]]


class ConvolvedState(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 4, groups=8)

    def forward(self, x, state):
        joined = torch.cat([state, x.transpose(1, 2)], -1)
        return self.conv(joined).transpose(1, 2), joined[..., -3:]


def test_module_is_exported_although_the_sample_fits_one_chunk():
    module, axes = Chunks(), ({0: "batch", 1: "sequence"},)
    program = export_onnx(module, (torch.randn(2, 3, 4),), input_names=["x"], output_names=["y"], dynamic_shapes=axes)
    run = OnnxRunner(program.model_proto.SerializeToString())
    for steps in (1, 8, 9, 67):
        x = torch.randn(2, steps, 4)
        np.testing.assert_allclose(run({"x": x.numpy()})["y"], module(x).numpy(), rtol=1e-4, atol=1e-5)


def test_refusal_of_a_loop_over_chunks_advises_scan():
    axes = ({0: "batch", 1: "sequence"},)
    with pytest.raises(UnsupportedModule, match=r"rnnserve\.export\.scan"):
        export_onnx(ChunkLoop(), (torch.randn(2, 3, 4),), input_names=["x"], output_names=["y"], dynamic_shapes=axes)


def test_convolution_of_a_declared_state_has_equal_bits_in_parts_of_one_step():
    axes = ({0: "batch", 1: "sequence"}, {0: "batch"})
    sample = torch.randn(2, 5, 8), torch.randn(2, 8, 3)
    module, names = ConvolvedState().eval(), (["x", "s"], ["y", "s_n"])
    program = export_onnx(module, sample, input_names=names[0], output_names=names[1], dynamic_shapes=axes)
    run = OnnxRunner(program.model_proto.SerializeToString())
    x, s = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32), np.zeros((2, 8, 3), np.float32)
    whole, parts = run({"x": x, "s": s})["y"], []
    for at in range(30):
        found = run({"x": x[:, at : at + 1], "s": s})
        parts.append(found["y"])
        s = found["s_n"]
    assert np.array_equal(np.concatenate(parts, 1), whole)


def test_loop_stays_a_scan_if_onnxruntime_lacks_the_operator(monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.31.2")
    _, program = exported(gated)
    assert "Scan" in {node.op_type for node in program.model.graph}
