"""A classifier computed by hand, as the tutorial does: cells in a loop, layers stacked, directions put together."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnnserve.export.parity.runner import Arrays
from rnnserve.models import DirectionClassifier

__all__ = ["compose"]

_CELLS: dict[str, type[nn.RNNCellBase]] = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class _State(NamedTuple):
    """Each (batch, hidden); c is zeros where the cell has none."""

    h: Tensor
    c: Tensor


def compose(classifier: DirectionClassifier, inputs: Arrays) -> Arrays:
    """Compute a classifier's outputs one cell, one direction and one layer at a time, in its parameters' dtype.

    Args:
        classifier: whose weights are used; none of its recurrent layers is run.
        inputs: `input` (batch, sequence, features), `lengths` (batch,), `h_0` and for an lstm `c_0`.

    Returns:
        `logits`, `output`, `h_n` and for an lstm `c_n`.
    """
    architecture = classifier.architecture
    dtype = classifier.head.weight.dtype
    lengths = torch.from_numpy(inputs["lengths"])
    below = torch.from_numpy(inputs["input"]).to(dtype)
    h_0 = torch.from_numpy(inputs["h_0"]).to(dtype)
    c_0 = torch.from_numpy(inputs["c_0"]).to(dtype) if "c_0" in inputs else torch.zeros_like(h_0)
    finals: list[_State] = []
    with torch.no_grad():
        for layer in range(architecture.num_layers):
            outputs = []
            for direction in range(architecture.directions):
                cell = _cell(classifier, layer, backwards=direction == 1)
                start = _State(h_0[len(finals)], c_0[len(finals)])
                output, final = _loop(cell, below, lengths, start, backwards=direction == 1)
                outputs.append(output)
                finals.append(final)
            below = torch.cat(outputs, dim=2)
        last = torch.cat([state.h for state in finals[-architecture.directions :]], dim=1)
        results = {"logits": classifier.head(last), "output": below, "h_n": torch.stack([s.h for s in finals])}
        if architecture.cell == "lstm":
            results["c_n"] = torch.stack([state.c for state in finals])
    return {name: tensor.numpy() for name, tensor in results.items()}


def _loop(
    cell: nn.RNNCellBase, input: Tensor, lengths: Tensor, state: _State, *, backwards: bool
) -> tuple[Tensor, _State]:
    """Apply a cell to each point in turn; a row stands still behind its length, where its output is zeros."""
    outputs = [torch.empty(0)] * input.size(1)
    for step in reversed(range(input.size(1))) if backwards else range(input.size(1)):
        running = (step < lengths)[:, None]
        after = _apply(cell, input[:, step], state)
        outputs[step] = torch.where(running, after.h, 0)
        state = _State(torch.where(running, after.h, state.h), torch.where(running, after.c, state.c))
    return torch.stack(outputs, dim=1), state


def _apply(cell: nn.RNNCellBase, point: Tensor, state: _State) -> _State:
    if isinstance(cell, nn.LSTMCell):
        return _State(*cell(point, (state.h, state.c)))
    return _State(cell(point, state.h), state.c)


def _cell(classifier: DirectionClassifier, layer: int, *, backwards: bool) -> nn.RNNCellBase:
    """The cell that one direction of one layer repeats."""
    architecture = classifier.architecture
    features = architecture.features if layer == 0 else architecture.directions * architecture.hidden
    options = {"nonlinearity": architecture.nonlinearity} if architecture.cell == "rnn" else {}
    cell: nn.RNNCellBase = _CELLS[architecture.cell](features, architecture.hidden, **options)  # type: ignore[arg-type]
    suffix = f"_l{layer}{'_reverse' if backwards else ''}"
    weights = {name: getattr(classifier.recurrence, name + suffix) for name, _ in cell.named_parameters()}
    cell.to(classifier.head.weight.dtype).load_state_dict(weights)
    return cell
