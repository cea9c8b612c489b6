"""Guards against NaN change no verdict: what is proven of a recurrent layer is proven of the guarded one."""

import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Lengths, Publication, export_onnx
from rnnserve.export.dataflow import decide
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.finiteness import guard_recurrences

CELLS = {"relu": lambda **more: nn.RNN(4, 6, nonlinearity="relu", **more), "gru": lambda **more: nn.GRU(4, 6, **more)}
CELLS["lstm"] = lambda **more: nn.LSTM(4, 6, **more)


class Logarithms(nn.Module):
    """Gives NaN for a negative number, from its step on."""

    def __init__(self, make, *, bidirectional):
        super().__init__()
        self.layer = make(batch_first=True, bidirectional=bidirectional)

    def forward(self, x, lengths: torch.Tensor | None = None):
        x = torch.log(x)
        given = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = self.layer(given)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.size(1))
        return y, state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_guard_changes_no_verdict(cell, bidirectional, packed):
    module = Logarithms(CELLS[cell], bidirectional=bidirectional).eval()
    inputs = {"x": Floats("batch", "sequence", ("features", 4), low=0.1, high=2.0)} | (
        {"lengths": Lengths()} if packed else {}
    )
    described = describe_model(Publication(module, "m", inputs, ["y", "h_n"]))
    arguments = (torch.rand(2, 3, 4) + 0.1, torch.tensor([3, 2]))[: 1 + packed]
    shapes = ({0: "batch", 1: "sequence"}, {0: "batch"})[: 1 + packed]
    program = export_onnx(module, arguments, input_names=list(inputs), output_names=["y", "h_n"], dynamic_shapes=shapes)
    plain = program.model_proto.SerializeToString()
    guarded = guard_recurrences(plain)
    assert guarded != plain
    expected, found = (
        {
            (kind, output): decision.verdict
            for kind, decisions in decide(
                onnx.load_model_from_string(graph), described.inputs, described.outputs
            ).items()
            for output, decision in decisions.items()
        }
        for graph in (plain, guarded)
    )
    assert found == expected
