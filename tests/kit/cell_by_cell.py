"""A classifier computed from cells in a loop, stacked layers and joined directions, as the tutorial does it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnnserve.export.tensors import Arrays
from rnnserve.models import DirectionClassifier

__all__ = ["compute_cell_by_cell"]

_CELLS: dict[str, type[nn.RNNCellBase]] = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class _State(NamedTuple):
    """A state of one layer in one direction: h and c, each (batch, hidden); c is zeros where the cell has none."""

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
