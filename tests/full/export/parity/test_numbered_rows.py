"""Modules that treat the rows of a batch by their number: a few drawn rows show it only if the first rows differ."""

import onnx
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.analysis import Property, decide
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity.batching_safety import find_batching, walk_graph
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.verification import reference_of
from rnnserve.protos import manifest_pb2

D, FIRST = 3, 40
ENTRIES = torch.cat([torch.ones(FIRST), torch.zeros(88)])


class Computed(nn.Module):
    """One output per function of the module, an input (batch, sequence, 3) and its lengths."""

    def __init__(self, functions):
        super().__init__()
        self.functions = functions
        self.register_buffer("entries", ENTRIES)
        self.register_buffer("equal", torch.ones(128))

    def forward(self, x, lengths):
        return tuple(function(self, x, lengths) for function in self.functions)


def numbers(x):
    return torch.arange(x.size(0))


def for_rows(values):
    return values[:, None, None]


def walked(functions):
    """The module's description, its graph, and the walk through it."""
    inputs = {"x": Floats("batch", "sequence", D), "lengths": Lengths()}
    names = [f"y{number}" for number in range(len(functions))]
    model = describe_model(Publication(Computed(functions).eval(), "model", inputs, names))
    graph = onnx.load_model_from_string(to_onnx(model))
    return model, graph, walk_graph(graph, model.inputs, model.outputs)


def batching_of(model, walk):
    return find_batching(model, reference_of(model), limits_for("cpu"), 0, walk)


BY_NUMBER = [
    (lambda _, x, __: x * for_rows(numbers(x) < FIRST), "Range"),
    (lambda _, x, __: x * for_rows(numbers(x) % 64 < FIRST), "Range"),
    (lambda _, x, __: x[numbers(x).clamp(max=FIRST - 1)], "Range"),
    (lambda m, x, _: x * for_rows(m.entries[: x.size(0)]), "Slice"),
    (lambda m, x, _: x * for_rows(m.entries[numbers(x)]), "Range"),
    (lambda _, x, __: torch.cat([x[:FIRST], 0 * x[FIRST:]]), "Slice"),
    (lambda _, x, __: x * for_rows(x[:, 0, 0].isfinite().nonzero()[:, 0] < FIRST), "NonZero"),
]


def test_rows_treated_by_their_number_run_alone():
    model, graph, walk = walked([function for function, _ in BY_NUMBER])
    decisions = decide(graph, model.inputs, model.outputs)[Property.ROWS]
    for number, (_, operator) in enumerate(BY_NUMBER):
        assert any(node.startswith(f'{operator} "') for node in decisions[f"y{number}"].counting), number
    batching = batching_of(model, walk)
    assert batching.mode == manifest_pb2.BATCHING_ALONE
    assert "depends on the number of rows" in batching.reasons[0]


def put_back(_, x, lengths):
    order = lengths.argsort(descending=True)
    return torch.tanh(x[order])[order.argsort()]


def put_back_by_scatter(_, x, lengths):
    order = lengths.argsort(descending=True)
    return torch.tanh(x[order]).index_select(0, torch.empty_like(order).scatter_(0, order, numbers(x)))


def folded(_, x, __):
    """Two rows computed for each row, then added."""
    both = torch.cat([x, -2 * x])
    return both[: x.size(0)] + both[x.size(0) :]


IN_PLACE = [
    lambda _, x, lengths: x[numbers(x), lengths - 1],
    lambda _, x, __: x[numbers(x), x[:, :, 0].argmax(1)],
    lambda _, x, __: x[numbers(x)],
    lambda _, x, __: x.index_select(0, numbers(x)),
    lambda _, x, lengths: x.reshape(-1, D)[numbers(x) * x.size(1) + lengths - 1],
    lambda m, x, _: x * for_rows(m.equal[: x.size(0)]),  # a table of equal entries
    folded,
]


@pytest.mark.parametrize("functions", [IN_PLACE, [put_back], [put_back_by_scatter]], ids=["read", "argsort", "scatter"])
def test_rows_read_by_their_number_share_runs(functions):
    model, _, walk = walked(functions)
    assert batching_of(model, walk).mode != manifest_pb2.BATCHING_ALONE
