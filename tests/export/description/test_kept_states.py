"""A module that keeps its state from one call to the next is refused, and the attribute is named."""

from typing import Any

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, WrongArguments, export_onnx, publish
from rnnserve.export.description.described_model import describe_model


class Keeps(nn.Module):
    """Goes on from a tuple of states for so many rows, as `init_hidden(rows)` makes one before each batch."""

    def __init__(self, rows):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.hidden = torch.zeros(1, rows, 4), torch.zeros(1, rows, 4)

    def forward(self, x):
        y, self.hidden = self.lstm(x, self.hidden)
        return y


class KeepsBuffer(nn.Module):
    hidden: torch.Tensor

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.register_buffer("hidden", torch.zeros(1, 4))

    def forward(self, x):
        self.hidden = self.cell(x[:, 0], self.hidden.expand(x.size(0), -1))
        return self.hidden * 1.0


class Breaks(nn.Module):
    """Takes one row only, and stores what it computes."""

    def forward(self, x):
        self.weights = x.softmax(1)
        return x.view(-1, 3) + x.view(3, -1).sum(1) if x.size(0) == 1 else x.view(1, -1, 3, 7)


class Decaying(nn.Module):
    """Runs as RWKV does, with its state in an argument that has a default; `shared` is no state of a row."""

    def __init__(self, *, counts=False):
        super().__init__()
        self.key, self.counts, self.calls = nn.Linear(3, 4), counts, 0

    def forward(self, x, state=None, strangers=tuple(range(20_000))):  # noqa: ARG002
        state = x.new_zeros(x.size(0), 4) if state is None else state
        self.calls += 1
        outputs = []
        for t in range(x.size(1)):
            state = 0.5 * state + torch.exp(-self.key(x[:, t])) + (self.calls if self.counts else 0)
            outputs.append(state)
        return torch.stack(outputs, 1), state, self.key.weight.sum(1)


class Rows(nn.Module):
    """Returns only the results that have a batch axis."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x, state=None):
        return self.module(x, state)[:2]


X = {"x": Floats("batch", "sequence", 3)}


@pytest.mark.parametrize("make", [lambda: Keeps(1), lambda: Keeps(4), KeepsBuffer])
def test_kept_state_is_named(make):
    message = r"keeps \['hidden'\] from one call.*state_attributes=\['hidden'\]"
    with pytest.raises(UnsupportedModule, match=message):
        describe_model(Publication(make().eval(), "keeps", X, ["y"]))


def test_attribute_that_only_stores_a_result_is_not_a_state():
    with pytest.raises(WrongArguments, match="does not accept the described inputs"):
        describe_model(Publication(Breaks().eval(), "breaks", X, ["y"]))


def test_result_without_a_batch_axis_is_refused_with_advice_to_wrap_the_module():
    inputs, states = {**X, "state": Floats("batch", 4)}, {"state_n": "state"}
    with pytest.raises(UnsupportedModule, match=r'"keys" .* no axis as large as the batch.*publish a module around'):
        describe_model(Publication(Decaying().eval(), "m", inputs, ["y", "state_n", "keys"], states))
    model = describe_model(Publication(Rows(Decaying()).eval(), "m", inputs, ["y", "state_n"], states))
    assert [tensor.name for tensor in model.inputs] == ["x", "state"]


def test_parameter_default_is_not_a_kept_state():
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y", "state_n"]}
    with pytest.raises(UnsupportedModule, match=r"changes \['module\.calls'\] with each call"):
        export_onnx(Rows(Decaying(counts=True)).eval(), (torch.ones(2, 4, 3),), **names, dynamic_shapes=({0: "batch"},))


class Warming(nn.Module):
    """Answers in another way after some calls, so that only its first calls show that it counts them."""

    calls = 0

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.layer, self.most = nn.GRU(3, 4, batch_first=True), calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x)[0] * (1 if self.calls <= self.most else 2)


@pytest.mark.parametrize(("calls", "said"), [(2, r"changes \['calls'\] with each call"), (6, "returns other results")])
def test_module_that_counts_calls_is_refused_despite_trial_calls(calls, said, tmp_path):
    with pytest.raises(UnsupportedModule, match=said):
        publish(Warming(calls).eval(), "m", repository=tmp_path, inputs=X, outputs=["y"], progress=False)
