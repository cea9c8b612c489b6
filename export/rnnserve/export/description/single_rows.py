"""Modules that take one row at a time: inputs without an axis of rows become inputs of a batch, and rows run in turn.

A controller's step takes an observation (features,) and a state (hidden,); a sampler takes logits and one temperature.
Requests share no run of such a module, but may hold several rows: the graph is a Scan over them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.description.forward_parameters import ForwardParameters
from rnnserve.export.description.input_descriptions import DYNAMIC, InputDescription
from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import Wrapper
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Constant, ModuleInterface, flatten_results
from rnnserve.export.recurrence import scan
from rnnserve.protos.protocol_words import BATCH

__all__ = ["SingleRows", "row_by_row"]

_NO_AXIS: Final = -1
_STEPS: Final = 4  # of the runs that tell the axes of rows

Rows = int | None | tuple[int | None, ...]
"""Axis of rows of an argument, or of each tensor in it: -1 for none, where a row is the tensor; None for a constant."""


def row_by_row(
    forward: ForwardParameters, outputs: Sequence[str], sizes: Mapping[str, tuple[int, int]]
) -> ForwardParameters:
    """Give a module that takes batches in the place of one that takes an input without an axis of rows.

    Args:
        forward: Function that calls the module.
        outputs: Names of its results.
        sizes: Sizes of dynamic axes that the module takes, as in a `Publication`.

    Returns:
        The same, where every input has an axis of rows.

    Raises:
        WrongArguments: If forward does not take such inputs.
    """
    without = [name for name, what in forward.described.items() if _axis(what) == _NO_AXIS]
    if not without:
        return forward
    rows = tuple(_rows(parameter, forward.described) for parameter in forward.parameters)
    results = _rows_of_results(forward, outputs, sizes, without)
    described = {name: _of_a_batch(what) for name, what in forward.described.items()}
    return dataclasses.replace(forward, module=SingleRows(forward.module, rows, results), described=described)


class SingleRows(Wrapper):
    """Calls a module for each row of a batch.

    Args:
        module: Module that takes one row, by position.
        rows: Axes of rows of its arguments. A tensor that has one is passed with one row; another without the axis,
            which is the first of the tensor that comes.
        results: Axis of rows of each result of the module, -1 for none; the first, then, of what is given.
    """

    def __init__(self, module: nn.Module, rows: Sequence[Rows], results: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self._rows, self._results = tuple(rows), tuple(results)
        self.eval()

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - what the module takes and gives
        """Run the module for each row."""
        leaves, spec = torch.utils._pytree.tree_flatten(args)  # noqa: SLF001
        axes: list[int | None] = []
        for argument, rows in zip(args, self._rows, strict=False):  # the last ones may be left out
            if isinstance(rows, tuple):
                axes.extend(rows if isinstance(argument, tuple | list) else [None])
            else:
                axes.append(rows)
        places = [
            (at, axis)
            for at, (leaf, axis) in enumerate(zip(leaves, axes, strict=True))
            if axis is not None and isinstance(leaf, Tensor)
        ]

        def step(none: Tensor, row: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
            given = list(leaves)
            for (at, axis), tensor in zip(places, row, strict=True):
                given[at] = tensor if axis == _NO_AXIS else tensor.unsqueeze(axis)
            found = flatten_results(self.module(*torch.utils._pytree.tree_unflatten(given, spec)))  # noqa: SLF001
            return none, [
                each if axis == _NO_AXIS else each.squeeze(axis)
                for each, axis in zip(found, self._results, strict=True)
            ]

        batch = [leaves[at] if axis == _NO_AXIS else leaves[at].movedim(axis, 0) for at, axis in places]
        _, results = scan(step, torch.zeros(1), batch)
        return tuple(each.movedim(0, max(axis, 0)) for each, axis in zip(results, self._results, strict=True))


def _axis(what: InputDescription) -> int:
    """Give the position of the axis of rows; -1 for none."""
    return next((at for at, (name, _) in enumerate(what.axes) if name == BATCH), _NO_AXIS)


def _rows(parameter: str | tuple[str, ...] | Constant, described: Mapping[str, InputDescription]) -> Rows:
    if isinstance(parameter, Constant):
        return None
    if isinstance(parameter, tuple):
        return tuple(_axis(described[name]) for name in parameter)
    return _axis(described[parameter])


def _of_a_batch(what: InputDescription) -> InputDescription:
    """Describe what requests have in the place of an input without an axis of rows."""
    if _axis(what) != _NO_AXIS:
        return what
    initial = what.initial
    if initial is not None and np.ndim(initial := np.asarray(torch.as_tensor(initial).detach())):
        initial = initial[None]
    return dataclasses.replace(what, axes=((BATCH, DYNAMIC), *what.axes), initial=initial)


def _rows_of_results(
    forward: ForwardParameters, outputs: Sequence[str], sizes: Mapping[str, tuple[int, int]], without: Sequence[str]
) -> list[int]:
    """Find the axis of rows of each result, by runs with one row and with two in the inputs that have the axis."""
    interface = ModuleInterface(forward.parameters, tuple(outputs), forward.defaults)
    inputs = [what.tensor(name) for name, what in forward.described.items()]
    dynamic = {axis for what in forward.described.values() for axis, size in what.axes if size == DYNAMIC}
    shapes = []
    for batch in (1, 2):
        drawn = {axis: sizes.get(axis, (_STEPS,))[0] for axis in dynamic} | {BATCH: batch}
        arrays = draw_inputs(inputs, np.random.default_rng(0), drawn)
        try:
            with torch.no_grad():
                found = interface.call(forward.module, arrays)
        except WrongArguments:
            raise
        except Exception as error:  # whatever the user's module raises
            shown = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
            raise WrongArguments(_refused(shown, without, error, every=len(without) == len(inputs))) from error
        shapes.append([array.shape for array in found.values()])
    return [
        next((at for at, (one, two) in enumerate(zip(*each, strict=False)) if (one, two) == (1, 2)), _NO_AXIS)
        for each in zip(*shapes, strict=True)
    ]


def _refused(shown: str, without: Sequence[str], error: Exception, *, every: bool) -> str:
    """Say why forward gets one row, and what to describe if it takes a batch."""
    name, raised = without[0], f"It raises {type(error).__name__}: {error}"
    if every:
        return (
            f'no input has the axis "{BATCH}", so forward gets one row at a time: {shown}. {raised}. PyTorch\'s '
            f'cells, layers and most operators take rows as well as one alone: describe each input with "{BATCH}", '
            f'Floats("{BATCH}", 3), and the module gives a row of its results for each'
        )
    return (
        f'input "{name}" has no axis "{BATCH}", so forward gets one row of it at a time: {shown}. {raised}. If it '
        f"takes a batch, give the input the axis. If it is the same in every request, leave it out of inputs: "
        f'constants={{"{name}": …}}'
    )
