"""Where types are mixed, casts are inserted by what the program holds, to the bytes that running each node gives."""

import contextlib

import pytest
import torch
from torch import nn
from torch.onnx._internal.fx.passes import type_promotion

from rnnserve.export import export_onnx
from rnnserve.export.recurrence import export as exporting
from rnnserve.export.recurrence.promoted_types import values_kept_in_promotion

INTERPRETER = type_promotion._TypePromotionInterpreter


class Then(nn.Module):
    """A recurrent layer, and what follows of its output and of whole numbers."""

    def __init__(self, after):
        super().__init__()
        torch.manual_seed(3)
        self.rnn, self.after = nn.GRU(3, 4, batch_first=True), after

    def forward(self, x, n):
        return self.after(self.rnn(x)[0], n)


MIXED = {
    "a tensor of whole numbers": lambda y, n: y * n.unsqueeze(2),
    "a number": lambda y, n: y + n.unsqueeze(2) / 3,
    "a comparison": lambda y, n: torch.where(n.unsqueeze(2) > 1.5, y, n.unsqueeze(2)),
    "float16 and float32": lambda y, _: y.half() + y,
    "a power of a number": lambda y, n: torch.pow(2, n) + y.sum(2),
    "one after the other": lambda y, n: ((y.half() * n.unsqueeze(2)).sum(2) + n).exp() - y.mean(2),
    "a size": lambda y, n: y / n.size(1) + n.sum(1).view(-1, 1, 1),
    "a list": lambda y, n: torch.cat([y, n.unsqueeze(2)], 2),
}
"""Functions of y, (batch, sequence, 4) float32, and n, (batch, sequence) int64."""
ALIKE = {"types that are alike": lambda y, _: torch.tanh(y) * y + 1.0}


def export(after):
    return export_onnx(
        Then(after).eval(),
        (torch.zeros(3, 5, 3), torch.ones(3, 5, dtype=torch.int64)),
        input_names=["x", "n"],
        output_names=["y"],
        dynamic_shapes=({0: "batch", 1: "sequence"}, {0: "batch", 1: "sequence"}),
    ).model_proto.SerializeToString(deterministic=True)


@pytest.fixture
def ran(monkeypatch):
    """Names of the nodes that were run on tensors without values while casts were inserted."""
    names = []
    run = torch.fx.Interpreter.run_node

    def noting(self, node):
        if isinstance(self, INTERPRETER) and node.op == "call_function":
            names.append(node.name)
        return run(self, node)

    monkeypatch.setattr(torch.fx.Interpreter, "run_node", noting)
    return names


@pytest.mark.parametrize("after", [*MIXED.values(), *ALIKE.values()], ids=[*MIXED, *ALIKE])
def test_the_bytes_are_those_of_running_each_node(ran, monkeypatch, after):
    found = export(after)
    fewer = len(ran)
    monkeypatch.setattr(exporting, "values_kept_in_promotion", contextlib.nullcontext)
    assert found == export(after)
    assert fewer < len(ran) - fewer


def test_casts_are_inserted_and_nothing_else_runs(ran):
    for after in ALIKE.values():
        export(after)
    assert not ran
    export(MIXED["a tensor of whole numbers"])
    assert sorted(name.rstrip("_0123456789") for name in ran) == ["convert_element_type_default", "mul"]


def test_the_interpreter_is_as_before_after_an_error():
    before = INTERPRETER.run_node
    with contextlib.suppress(ZeroDivisionError), values_kept_in_promotion():
        assert INTERPRETER.run_node is not before
        raise ZeroDivisionError
    assert INTERPRETER.run_node is before


def test_a_torch_that_has_it_elsewhere_runs_each_node(monkeypatch):
    monkeypatch.delattr(type_promotion, "get_type_promotion_rule")
    with values_kept_in_promotion():
        assert INTERPRETER.run_node.__qualname__ == "_TypePromotionInterpreter.run_node"
