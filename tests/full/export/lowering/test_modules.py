"""Modules with nn.RNN, lowered: the same as eager, whatever form they have. Bits that serving relies on."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import export_onnx
from rnnserve.export.lowering import lower_rnn

FEATURES, HIDDEN = 3, 6


class Both(nn.Module):
    """Two recurrent modules, one after the other: the first gives the second its sequence and its state."""

    def __init__(self, nonlinearity, layers, bidirectional, packed, with_states):
        super().__init__()
        options = {"nonlinearity": nonlinearity, "bidirectional": bidirectional, "batch_first": True}
        self.packed, self.with_states = packed, with_states
        self.states = layers * (1 + bidirectional)
        self.first = nn.RNN(FEATURES, HIDDEN, layers, **options)
        self.second = nn.RNN(HIDDEN * (1 + bidirectional), HIDDEN, 1, **options)

    def forward(self, x, lengths, h_0):
        steps, h_0 = x.size(1), h_0 if self.with_states else None
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        between, h_n = self.first(x, h_0)
        output, last = self.second(between, h_n[-1 - self.second.bidirectional :] if self.with_states else None)
        if self.packed:
            output = pad_packed_sequence(output, batch_first=True, total_length=steps)[0]
        return output, h_n, last


class Many(nn.Module):
    """Every depth and direction, with states and without, side by side: all read the same lengths."""

    def __init__(self, nonlinearity, packed):
        super().__init__()
        self.members = nn.ModuleList(
            Both(nonlinearity, layers, bidirectional, packed, with_states)
            for layers, bidirectional, with_states in itertools.product((1, 2), (False, True), (False, True))
        )

    def forward(self, x, lengths, h_0):
        return tuple(result for member in self.members for result in member(x, lengths, h_0[: member.states]))


def exported(module, states, results=3):
    """model.onnx and model.scan.onnx of a module of (batch, sequence, features), lengths and states."""
    program = export_onnx(
        module.eval(),
        (torch.zeros(3, 4, FEATURES), torch.tensor([4, 2, 1]), torch.zeros(states, 3, HIDDEN)),
        input_names=["x", "lengths", "h_0"],
        output_names=[f"output_{number}" for number in range(results)],
        dynamic_shapes=({0: "batch", 1: "sequence"}, {0: "batch"}, {1: "batch"}),
    )
    native = program.model_proto.SerializeToString(deterministic=True)
    scan = lower_rnn(native)
    assert scan is not None
    return native, scan


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    found = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in found.get_inputs()]

    def run(feeds):
        return found.run(None, {name: array for name, array in feeds.items() if name in names})

    return run


def draw(random, rows, steps, states):
    lengths = random.integers(1, steps, rows, endpoint=True)
    lengths[random.integers(rows)] = steps
    return {
        "x": random.normal(size=(rows, steps, FEATURES)).astype(np.float32),
        "lengths": lengths,
        "h_0": random.normal(size=(states, rows, HIDDEN)).astype(np.float32),
    }


@pytest.mark.parametrize(("nonlinearity", "packed"), [("tanh", True), ("relu", False)])
def test_two_modules_equal_eager_and_the_native_graph(nonlinearity, packed):
    torch.manual_seed(0)
    module = Many(nonlinearity, packed)
    native, scan = exported(module, 4, 3 * len(module.members))
    nodes = [node.op_type for node in onnx.load_model_from_string(scan).graph.node]
    assert (nodes.count("Scan"), nodes.count("RNN")) == (4 * 2 + 4 * 3, 0)  # of one layer and one, of two and one
    by_native, by_scan, random = session(native), session(scan), np.random.default_rng(0)
    for rows, steps in ((1, 1), (2, 7), (5, 1), (6, 19)):
        feeds = draw(random, rows, steps, 4)
        with torch.no_grad():
            eager = [tensor.numpy() for tensor in module(*map(torch.from_numpy, feeds.values()))]
        for found, expected, other in zip(by_scan(feeds), eager, by_native(feeds), strict=True):
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
            np.testing.assert_allclose(found, other, rtol=0, atol=3e-6)


def test_layers_share_what_they_read_of_their_lengths():
    torch.manual_seed(0)
    scan = onnx.load_model_from_string(exported(Both("tanh", 2, True, True, True), 4)[1])
    for operator in ("Less", "Greater", "GatherND"):
        count = sum(node.op_type == operator for node in scan.graph.node)
        assert count == (6 if operator == "GatherND" else 1), operator
