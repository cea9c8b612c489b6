"""Modules that treat the rows of a run by their number: a few drawn rows show it only where the first ones differ."""

import onnx
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.graph_findings import contradictions, walk_graph
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.protos import manifest_pb2

D, FIRST = 3, 40
ENTRIES = torch.cat([torch.ones(FIRST), torch.zeros(88)])


class Computed(nn.Module):
    """What a function makes of an input (batch, sequence, 3) and its lengths, with a table of an entry for each row."""

    def __init__(self, compute, entries=ENTRIES):
        super().__init__()
        self.compute = compute
        self.register_buffer("entries", entries)

    def forward(self, x, lengths):
        return self.compute(self, x, lengths)


def found(compute, entries=ENTRIES):
    inputs = {"x": Floats("batch", "sequence", D), "lengths": Lengths()}
    model = describe_model(Publication(Computed(compute, entries).eval(), "model", inputs, ["y"]))
    graph = onnx.load_model_from_string(to_onnx(model))
    walk = walk_graph(graph, model.inputs, model.outputs, finite_inputs=True)
    return find_batching(model, reference_of(model), limits_for("cpu"), 0, walk), walk


def numbers(x):
    return torch.arange(x.size(0))


def for_rows(values):
    return values[:, None, None]


BY_NUMBER = {
    "a comparison": (lambda _, x, __: x * for_rows(numbers(x) < FIRST), "Range"),
    "a choice": (lambda _, x, __: torch.where(for_rows(numbers(x) < FIRST), x, 0.0), "Range"),
    "a quotient": (lambda _, x, __: x * for_rows((numbers(x) / FIRST).floor() == 0), "Range"),
    "a remainder": (lambda _, x, __: x * for_rows(numbers(x) % 64 < FIRST), "Range"),
    "a bound of indices": (lambda _, x, __: x[numbers(x).clamp(max=FIRST - 1)], "Range"),
    "a comparison for indices": (lambda _, x, __: x[numbers(x) * (numbers(x) < FIRST)], "Range"),
    "all steps of all rows": (
        lambda _, x, __: x * (torch.arange(x.size(0) * x.size(1)).view(x.size(0), x.size(1), 1) < 4000),
        "Range",
    ),
    "a table that is cut": (lambda m, x, _: x * for_rows(m.entries[: x.size(0)]), "Slice"),
    "a table that is read": (lambda m, x, _: x * for_rows(m.entries[numbers(x)]), "Range"),
    "the first rows": (lambda _, x, __: torch.cat([x[:FIRST], 0 * x[FIRST:]]), "Slice"),
    "the places of rows": (lambda _, x, __: x * for_rows(x[:, 0, 0].isfinite().nonzero()[:, 0] < FIRST), "NonZero"),
}


@pytest.mark.parametrize("name", BY_NUMBER)
def test_rows_that_are_treated_by_their_number_run_alone(name):
    compute, operator = BY_NUMBER[name]
    batching, walk = found(compute)
    assert batching.mode == manifest_pb2.BATCHING_ALONE
    assert batching.reasons[0].startswith(f'{operator} "')
    assert "treats the rows of a run by their number" in batching.reasons[0]
    joined = manifest_pb2.Manifest()
    joined.batching.mode = manifest_pb2.BATCHING_JOINED
    (said,) = contradictions(joined, walk, scan=False)
    assert said.startswith("the manifest says BATCHING_JOINED")
    assert said.endswith("treats rows by their number")


def put_back(_, x, lengths):
    order = lengths.argsort(descending=True)
    return torch.tanh(x[order])[order.argsort()]


def put_back_by_number(_, x, lengths):
    order = lengths.argsort(descending=True)
    places = torch.empty_like(order)
    places[order] = numbers(x)
    return torch.tanh(x[order])[places]


def put_back_by_scatter(_, x, lengths):
    order = lengths.argsort(descending=True)
    return torch.tanh(x[order]).index_select(0, torch.empty_like(order).scatter_(0, order, numbers(x)))


IN_PLACE = {
    "the last step": lambda _, x, lengths: x[numbers(x), lengths - 1],
    "a computed step": lambda _, x, __: x[numbers(x), x[:, :, 0].argmax(1)],
    "each row": lambda _, x, __: x[numbers(x)],
    "each row, selected": lambda _, x, __: x.index_select(0, numbers(x)),
    "rows in one axis": lambda _, x, lengths: x.reshape(-1, D)[numbers(x) * x.size(1) + lengths - 1],
    "rows that are put back": put_back,
    "rows that are put back by their number": put_back_by_number,
    "rows that are put back by a scatter": put_back_by_scatter,
    "two for each row": lambda _, x, __: (lambda both: both[: x.size(0)] + both[x.size(0) :])(torch.cat([x, -2 * x])),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_rows_that_are_read_by_their_number_share_runs(name):
    batching, _ = found(IN_PLACE[name])
    assert batching.mode != manifest_pb2.BATCHING_ALONE


def test_a_table_of_equal_entries_gives_each_row_the_same():
    batching, _ = found(lambda m, x, _: x * for_rows(m.entries[: x.size(0)]), torch.ones(128))
    assert batching.mode != manifest_pb2.BATCHING_ALONE
