"""The tutorial's equalities, in eager and in ONNX: composition from cells, final states, parts, padding."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnserve.export.parity import OnnxRunner
from rnnserve.export.surroundings import users_module
from rnnserve.export.tensors import Arrays, draw_inputs
from rnnserve.models import DirectionClassifier
from rnnserve.protos.protocol_words import BATCH

_CELLS: dict[str, type[nn.RNNCellBase]] = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class _State(NamedTuple):
    """A state of one layer in one direction: h and c, each (batch, hidden). If the cell has no c, it is zeros."""

    h: Tensor
    c: Tensor


def compute_cell_by_cell(classifier: DirectionClassifier, inputs: Arrays) -> Arrays:
    """Compute a classifier's outputs one cell, one direction and one layer at a time, in its parameters' dtype.

    Args:
        classifier: The weights come from it; its recurrent layers are not run.
        inputs: `input` (batch, sequence, features) float32, `lengths` (batch,) int64, `h_0` (layers * directions,
            batch, hidden) float32 and, for an lstm, `c_0` like `h_0`.

    Returns:
        `logits` (batch, classes), `output` (batch, sequence, directions * hidden), `h_n` like `h_0` and, for an lstm,
        `c_n` like `c_0`; in the parameters' dtype.
    """
    architecture = classifier.architecture
    dtype = classifier.head.weight.dtype
    lengths = torch.from_numpy(inputs["lengths"])
    layer_input = torch.from_numpy(inputs["input"]).to(dtype)
    h_0 = torch.from_numpy(inputs["h_0"]).to(dtype)
    c_0 = torch.from_numpy(inputs["c_0"]).to(dtype) if "c_0" in inputs else torch.zeros_like(h_0)
    finals: list[_State] = []
    with torch.no_grad():
        for layer in range(architecture.num_layers):
            outputs = []
            for direction in range(architecture.directions):
                cell = _cell(classifier, layer, backwards=direction == 1)
                start = _State(h_0[len(finals)], c_0[len(finals)])
                output, final = _loop(cell, layer_input, lengths, start, backwards=direction == 1)
                outputs.append(output)
                finals.append(final)
            layer_input = torch.cat(outputs, dim=2)  # (batch, sequence, directions * hidden)
        last = torch.cat(
            [state.h for state in finals[-architecture.directions :]], dim=1
        )  # (batch, directions * hidden)
        results = {
            "logits": classifier.head(last),
            "output": layer_input,
            "h_n": torch.stack([state.h for state in finals]),
        }
        if architecture.cell == "lstm":
            results["c_n"] = torch.stack([state.c for state in finals])
    return {name: tensor.numpy() for name, tensor in results.items()}


def _loop(
    cell: nn.RNNCellBase, input: Tensor, lengths: Tensor, state: _State, *, backwards: bool
) -> tuple[Tensor, _State]:
    """Apply a cell to each point in turn; after a row's length its state does not change and its output is zeros.

    Args:
        cell: One direction of one layer.
        input: (batch, sequence, features).
        lengths: (batch,) int64.
        state: The initial one.
        backwards: Whether to begin at the last point.

    Returns:
        The output, (batch, sequence, hidden), and the final state.
    """
    outputs = [torch.empty(0)] * input.size(1)
    for step in reversed(range(input.size(1))) if backwards else range(input.size(1)):
        within = (step < lengths)[:, None]  # (batch, 1)
        after = _apply(cell, input[:, step], state)
        outputs[step] = torch.where(within, after.h, 0)
        state = _State(torch.where(within, after.h, state.h), torch.where(within, after.c, state.c))
    return torch.stack(outputs, dim=1), state


def _apply(cell: nn.RNNCellBase, point: Tensor, state: _State) -> _State:
    """Apply a cell to a point (batch, features)."""
    if isinstance(cell, nn.LSTMCell):
        return _State(*cell(point, (state.h, state.c)))
    return _State(cell(point, state.h), state.c)


def _cell(classifier: DirectionClassifier, layer: int, *, backwards: bool) -> nn.RNNCellBase:
    """Make the cell that one direction of one layer repeats, with the classifier's weights."""
    architecture = classifier.architecture
    features = architecture.features if layer == 0 else architecture.directions * architecture.hidden
    options = {"nonlinearity": architecture.nonlinearity} if architecture.cell == "rnn" else {}
    cell: nn.RNNCellBase = _CELLS[architecture.cell](features, architecture.hidden, **options)  # type: ignore[arg-type]
    suffix = f"_l{layer}{'_reverse' if backwards else ''}"
    weights = {name: getattr(classifier.recurrence, name + suffix) for name, _ in cell.named_parameters()}
    cell.to(classifier.head.weight.dtype).load_state_dict(weights)
    return cell


BATCH_SIZE, LENGTH, CUT = 64, 12, 4
ARCHITECTURES = [
    {"cell": "rnn"},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "num_layers": 2, "bidirectional": True},
]


@pytest.fixture(params=ARCHITECTURES, ids=lambda sizes: sizes["cell"])
def classifier(request, subject):
    return subject(**request.param)


@pytest.fixture(params=["eager", "onnx"])
def compute(request, classifier):
    return classifier.reference.eager if request.param == "eager" else OnnxRunner(classifier.model)


def drawn(classifier, *, ragged):
    sizes = {BATCH: BATCH_SIZE, "sequence": LENGTH}
    return draw_inputs(classifier.described.inputs, np.random.default_rng(1), sizes, ragged=ragged, bounded_states=True)


def test_manual_loop_over_cells_equals_the_layers(classifier, compute):
    inputs = drawn(classifier, ragged=True)
    double = users_module(classifier.reference.double)
    assert isinstance(double, DirectionClassifier)
    composed = compute_cell_by_cell(double, inputs)
    exact, found = classifier.reference.exact(inputs), compute(inputs)
    for name, expected in composed.items():
        np.testing.assert_allclose(exact[name], expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=4e-6)


def test_final_state_is_the_last_output_of_each_direction(classifier, compute):
    inputs = drawn(classifier, ragged=True)
    found, architecture = compute(inputs), classifier.classifier.architecture
    output, hidden = found["output"], architecture.hidden  # output (batch, sequence, directions * hidden)
    ends = [output[np.arange(BATCH_SIZE), inputs["lengths"] - 1, :hidden], output[:, 0, hidden:]]
    expected = np.stack(ends[: architecture.directions])  # (directions, batch, hidden)
    assert np.array_equal(found["h_n"][-architecture.directions :], expected)


def test_sequence_in_two_parts_equals_the_whole(classifier, compute):
    if classifier.classifier.architecture.bidirectional:
        return
    inputs = drawn(classifier, ragged=False)
    states = {each.name: each.continues_as for each in classifier.described.outputs if each.continues_as}
    first, second = (
        inputs | {"input": points, "lengths": np.full(BATCH_SIZE, points.shape[1])}
        for points in (inputs["input"][:, :CUT], inputs["input"][:, CUT:])
    )
    before = compute(first)
    parts = compute(second | {initial: before[final] for final, initial in states.items()})
    parts["output"] = np.concatenate([before["output"], parts["output"]], axis=1)
    for name, expected in classifier.reference.exact(inputs).items():
        np.testing.assert_allclose(parts[name], expected, rtol=0, atol=4e-6)


def test_values_after_the_length_of_a_row_change_no_bit(classifier, compute):
    inputs = drawn(classifier, ragged=True)
    padding = (np.arange(LENGTH) >= inputs["lengths"][:, None])[..., None]  # (batch, sequence, 1)
    zeros, large = (
        compute(inputs | {"input": np.where(padding, np.float32(value), inputs["input"])}) for value in (0.0, 1e4)
    )
    assert all(np.array_equal(zeros[name], large[name]) for name in zeros)
