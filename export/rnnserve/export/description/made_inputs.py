"""From forward's parameters to the inputs of a model, where the two differ: what `made_arguments` makes of which input.

A mask is no input: "lengths" is one in its place. Ids that are padded get "lengths" beside them. Constants are none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rnnserve.export.description.forward_parameters import ForwardParameters
from rnnserve.export.description.grouped_tensors import Kind
from rnnserve.export.description.input_descriptions import DYNAMIC, InputDescription, Lengths, MaskDescription
from rnnserve.export.description.made_arguments import (
    Argument,
    Fixed,
    Given,
    Grouped,
    MadeArguments,
    Masked,
    PaddedIds,
    Shares,
    Steps,
)
from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import Constant, Parameter
from rnnserve.protos.protocol_words import BATCH

__all__ = ["with_made_inputs"]


def with_made_inputs(
    forward: ForwardParameters, constants: Mapping[str, Any], kinds: Mapping[Parameter, Kind]
) -> ForwardParameters:
    """Give a module that takes a model's inputs in the place of one that takes masks, padded ids, dicts and constants.

    Args:
        forward: Parameters of the forward of the user's module.
        constants: Values that the user gave for parameters.
        kinds: Types that forward takes for parameters of several tensors, where they are no tuples.

    Returns:
        The same, where the user's module takes the inputs as they are.

    Raises:
        WrongArguments: If nothing says what should be made, as where no input has the axis of a mask.
    """
    described = forward.described
    if not (constants or kinds or any(map(_is_made, described.values()))):
        return forward
    inputs = {name: _as_input(what) for name, what in described.items() if not isinstance(what, MaskDescription)}
    for axis in dict.fromkeys(_axis(name, what) for name, what in described.items() if _is_made(what)):
        if axis not in {what.lengths_of for what in inputs.values()}:
            inputs[_name_of_lengths(axis, described)] = Lengths(axis)
    kept: list[Parameter] = []
    for parameter in forward.parameters:
        if isinstance(parameter, tuple) and not _is_whole(parameter, described, kinds):
            kept += [name for name in parameter if name in inputs]
        elif isinstance(parameter, tuple) or (isinstance(parameter, str) and parameter in inputs):
            kept.append(parameter)
    kept += [name for name in inputs if name not in described]
    makes = _Makes(described, inputs, kept, kinds)
    made = MadeArguments(forward.module, [makes.argument(parameter) for parameter in forward.parameters])
    defaults = {
        parameter: value
        for parameter, value in forward.defaults.items()
        if parameter in kept and (isinstance(parameter, tuple) or not _is_made(described[str(parameter)]))
    }
    return ForwardParameters(made, tuple(kept), inputs, defaults)


def _is_made(what: InputDescription) -> bool:
    return isinstance(what, MaskDescription) or what.relative or what.padding is not None


def _is_whole(
    parameter: tuple[str, ...], described: Mapping[str, InputDescription], kinds: Mapping[Parameter, Kind]
) -> bool:
    """Whether a tuple is passed on as it is."""
    return parameter not in kinds and not any(_is_made(described[name]) for name in parameter)


def _as_input(what: InputDescription) -> InputDescription:
    return dataclasses.replace(what, relative=False) if what.relative else what


def _axis(name: str, what: InputDescription) -> str:
    """Give the sequence axis whose lengths an argument is made from."""
    if what.lengths_of:
        return what.lengths_of
    axes = [axis for axis, size in what.axes if size == DYNAMIC and axis != BATCH]
    if len(axes) != 1 or BATCH not in dict(what.axes):
        raise WrongArguments(
            f'inputs["{name}"] has a padding id, and the axes {[axis for axis, _ in what.axes]}; expected "{BATCH}" '
            "and one dynamic axis besides, along which rows are padded"
        )
    return axes[0]


def _name_of_lengths(axis: str, described: Mapping[str, InputDescription]) -> str:
    axes = {_axis(name, what) for name, what in described.items() if _is_made(what)}
    name = "lengths" if len(axes) == 1 else f"{axis}_lengths"
    taken = [each for each, what in described.items() if not isinstance(what, MaskDescription)]
    if name in taken:
        raise WrongArguments(
            f'inputs describes "{name}", and the model needs an input of this name for the lengths of "{axis}": '
            f'describe it as Lengths("{axis}"), or name it otherwise'
        )
    return name


class _Makes:
    """Decides how each argument of forward is made of a model's inputs.

    Args:
        described: Descriptions of forward's tensors.
        inputs: The model's inputs.
        kept: The model's inputs as they are passed, in order.
        kinds: Types that forward takes for parameters of several tensors, where they are no tuples.
    """

    def __init__(
        self,
        described: Mapping[str, InputDescription],
        inputs: Mapping[str, InputDescription],
        kept: Sequence[Parameter],
        kinds: Mapping[Parameter, Kind],
    ) -> None:
        self._described = described
        self._inputs = inputs
        self._kept = list(kept)
        self._kinds = kinds

    def argument(self, parameter: Parameter) -> Argument:
        """Decide for one parameter of forward."""
        if isinstance(parameter, Constant):
            value = parameter.value
            return Fixed(torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
        if parameter in self._kept and not (isinstance(parameter, str) and _is_made(self._described[parameter])):
            return Given(self._kept.index(parameter))
        if isinstance(parameter, tuple):
            parts = tuple((name, self.argument(name)) for name in parameter)
            return Grouped(self._kinds.get(parameter, tuple), parts)
        what = self._described[parameter]
        steps = self._steps(parameter, _axis(parameter, what))
        axes = tuple("batch" if axis == BATCH else "steps" if size == DYNAMIC else "" for axis, size in what.axes)
        if isinstance(what, MaskDescription):
            dtype = torch.from_numpy(np.zeros(0, what.dtype)).dtype
            return Masked(steps, axes, what.inside, what.after, dtype)
        if what.padding is not None:
            return PaddedIds(steps, self._kept.index(parameter), axes, what.padding)
        return Shares(steps)

    def _steps(self, name: str, axis: str) -> Steps:
        lengths = next(each for each, what in self._inputs.items() if what.lengths_of == axis)
        for each, what in self._inputs.items():
            names = [dynamic if size == DYNAMIC else "" for dynamic, size in what.axes]
            if axis in names and each in self._kept:
                return Steps(self._kept.index(lengths), self._kept.index(each), names.index(axis))
        raise WrongArguments(
            f'inputs["{name}"] is made from the lengths of "{axis}", but no other input has this axis; there are '
            f"{', '.join(f'{each} {[axis for axis, _ in what.axes]}' for each, what in self._inputs.items())}"
        )
