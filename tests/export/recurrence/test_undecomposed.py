"""Programs that need no decomposing: found, copied, and exported to the bytes that decomposing them gives."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.onnx._internal.exporter import _fx_passes

from rnnserve.export import export_onnx
from rnnserve.export.recurrence import undecomposed

DECOMPOSE = "decompose_with_registry"


class Recurrent(nn.Module):
    """A recurrent layer, and what follows."""

    def __init__(self, cell="GRU", after=None, **options):
        super().__init__()
        torch.manual_seed(3)
        self.rnn = getattr(nn, cell)(3, 4, batch_first=True, **options)
        self.after = after or (lambda x: x)

    def forward(self, x):
        return self.after(self.rnn(x)[0])


class Packed(Recurrent):
    def forward(self, x, lengths):  # type: ignore[override]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        state = self.rnn(packed)[1]
        return state[0] if isinstance(state, tuple) else state


class OfConstants(Recurrent):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.arange(4.0), persistent=False)

    def forward(self, x):
        return self.rnn(x)[0] * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0])


HEAD = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 2))

STAY = {
    "a layer": Recurrent(),
    "layers": Recurrent("LSTM", num_layers=2, bidirectional=True, after=nn.Linear(8, 2)),
    "a head": Recurrent(after=HEAD),
    "a layer of few functions": Recurrent("RNN", nonlinearity="relu", after=torch.tanh),
    "a view": Recurrent(after=lambda x: x.transpose(1, 2).unsqueeze(1)),
    "some of the results": Recurrent(after=lambda x: torch.max(x, dim=2)[1]),
    "numbers of another type": Recurrent(after=lambda x: torch.maximum(x, x.argmax(dim=2, keepdim=True))),
}
"""Modules whose programs are recognised."""

CHANGE = {
    "an operator that is written in place": Recurrent(after=lambda x: torch.exp(x).clamp_(max=2.0)),
    "a composite operator": Recurrent(after=lambda x: torch.movedim(x, 1, 2)),
    "an operator without a translation": Recurrent(after=lambda x: nn.functional.hardshrink(x)),
    "a size that is computed with": Recurrent(after=lambda x: x[:, : x.shape[1] // 2 + 1]),
    "a sum, of constants": OfConstants(),
    "another type": Recurrent(after=lambda x: x.to(torch.float64)),
}
"""Modules whose programs are decomposed, as torch does."""


def export(module, lengths=(), outputs=("y",)):
    inputs = {"x": {0: "batch", 1: "sequence"}} | ({"lengths": {0: "batch"}} if lengths else {})
    return export_onnx(
        module.eval(),
        (torch.zeros(3, 5, 3), *lengths),
        input_names=[*inputs],
        output_names=[*outputs],
        dynamic_shapes=inputs,
    ).model_proto.SerializeToString(deterministic=True)


@pytest.fixture
def recognised(monkeypatch):
    """What was said of each program that was exported."""
    said = []
    recognise = undecomposed.is_undecomposed
    monkeypatch.setattr(undecomposed, "is_undecomposed", lambda *args: said.append(recognise(*args)) or said[-1])
    return said


def decomposed(monkeypatch, *args, **options):
    with monkeypatch.context() as patch:
        patch.setattr(undecomposed, "is_undecomposed", lambda *_: False)
        return export(*args, **options)


@pytest.mark.parametrize("module", STAY.values(), ids=STAY)
def test_a_program_that_stays_is_exported_to_the_same_bytes(recognised, monkeypatch, module):
    assert export(module) == decomposed(monkeypatch, module)
    assert recognised == [True]


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_lengths_are_cast_only_to_another_type(recognised, monkeypatch, cell, dtype):
    module, lengths = Packed(cell), [torch.tensor([5, 2, 1], dtype=dtype)]
    assert export(module, lengths) == decomposed(monkeypatch, module, lengths)
    assert recognised == [dtype is torch.int64]


@pytest.mark.parametrize("module", CHANGE.values(), ids=CHANGE)
def test_other_programs_are_decomposed(recognised, monkeypatch, module):
    assert export(module) == decomposed(monkeypatch, module)
    assert recognised == [False]


def test_a_program_with_a_result_that_nothing_uses_is_decomposed():
    program = torch.export.export(HEAD, (torch.zeros(3, 4),))
    assert undecomposed.is_undecomposed(program, [torch.ops.aten.linear.default, torch.ops.aten.layer_norm.default], [])
    last = next(iter(reversed(program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default))))
    with program.graph.inserting_after(last):
        more = program.graph.call_function(last.target, last.args)
    more.meta.update(last.meta)
    assert not undecomposed.is_undecomposed(
        program, [torch.ops.aten.linear.default, torch.ops.aten.layer_norm.default], []
    )


@pytest.mark.parametrize("left_out", [False, True])
def test_a_program_with_a_number_left_out_is_decomposed(recognised, monkeypatch, left_out):
    class Twice(Recurrent):
        def forward(self, x):
            if left_out:
                x.transpose(1, 2)  # nothing uses it, and torch drops it
            return self.rnn(x.transpose(1, 2).transpose(1, 2))[0]

    assert export(Twice()) == decomposed(monkeypatch, Twice())
    assert recognised == [not left_out]


def test_results_that_are_inputs_and_one_result_twice(recognised, monkeypatch):
    class Passing(Recurrent):
        def forward(self, x):
            output, h_n = self.rnn(x)
            return output, x, h_n, output

    names = ["output", "same", "h_n", "again"]
    assert export(Passing(), outputs=names) == decomposed(monkeypatch, Passing(), outputs=names)
    assert len(recognised) == 1


def test_what_torch_changes_is_a_copy(recognised, monkeypatch):
    captured = []
    promote = _fx_passes.insert_type_promotion_nodes
    translate = undecomposed._copy
    monkeypatch.setattr(undecomposed, "_copy", lambda program: captured.append(program) or translate(program))

    def promoted(module):
        before = str(captured[0].graph)
        promote(module)
        assert str(module.graph) != before
        assert str(captured[0].graph) == before

    monkeypatch.setattr(_fx_passes, "insert_type_promotion_nodes", promoted)
    export(STAY["numbers of another type"])
    assert recognised == [True]


def test_a_torch_that_decomposes_elsewhere_does_so(recognised, monkeypatch):
    module = STAY["a head"]
    expected = export(module)
    decompose = getattr(_fx_passes, DECOMPOSE)
    with monkeypatch.context() as patch:
        patch.delattr("torch._export.utils._special_op_to_preserve_cia")
        with undecomposed.copied_where_undecomposed():
            assert getattr(_fx_passes, DECOMPOSE) is decompose
    assert decomposed(monkeypatch, module) == expected
    with undecomposed.copied_where_undecomposed():
        assert getattr(_fx_passes, DECOMPOSE) is not decompose
    assert getattr(_fx_passes, DECOMPOSE) is decompose
