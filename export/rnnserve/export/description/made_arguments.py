"""Arguments of forward that are no inputs of the model as they are: made from inputs, inside the exported graph.

Masks, shares of lengths, ids with padding after each row, dicts of tensors, constants. Each is made by torch's
operators, so that the graph holds them, and servers see inputs of the usual kinds.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rnnserve.export.held_modules import Wrapper

__all__ = ["Argument", "Fixed", "Given", "Grouped", "MadeArguments", "Masked", "PaddedIds", "Shares", "Steps"]


class Argument(Protocol):
    """How one argument of forward comes about."""

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Any:  # noqa: ANN401 - what forward takes
        """Make the argument.

        Args:
            given: Arguments of the model's call.
            floating: float32, or float64 where the module runs in it.
        """


@dataclasses.dataclass(frozen=True)
class Given:
    """An input as it comes.

    Attributes:
        at: Its position.
    """

    at: int

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Any:  # noqa: ANN401
        """Give the input."""
        del floating
        return given[self.at]


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A constant.

    Attributes:
        value: Its value.
    """

    value: Any

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Any:  # noqa: ANN401
        """Give the value; of tensors of float32, in the type in which the module runs."""
        del given
        if isinstance(self.value, Tensor) and self.value.dtype == torch.float32:
            return self.value.to(floating)
        return self.value


@dataclasses.dataclass(frozen=True)
class Grouped:
    """Tensors that forward takes in one parameter.

    Attributes:
        kind: What makes it of the tensors by name: `dict`, a class, a `NestedDict`, or `tuple`, which has no names.
        parts: Tensors by name.
    """

    kind: Callable[..., Any]
    parts: tuple[tuple[str, Argument], ...]

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Any:  # noqa: ANN401
        """Give the group."""
        values = {name: part.of(given, floating) for name, part in self.parts}
        return tuple(values.values()) if self.kind is tuple else self.kind(**values)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Which steps of a sequence axis lie before the ends of their rows.

    Attributes:
        lengths: Position of the input (batch,) that holds the lengths.
        like: Position of an input that has the axis.
        axis: The axis's position in it.
    """

    lengths: int
    like: int
    axis: int

    def size(self, given: Sequence[Any]) -> Any:  # noqa: ANN401 - an int, or torch's SymInt
        """Give the number of steps."""
        return given[self.like].shape[self.axis]

    def inside(self, given: Sequence[Any], axes: Sequence[str]) -> Tensor:
        """Give a boolean that is true before the ends of rows.

        Args:
            given: Arguments of the model's call.
            axes: "batch" and "steps" where the result has them, in its order, and "" for axes of size 1.
        """
        steps = torch.arange(self.size(given), device=given[self.like].device)
        lengths = given[self.lengths]
        at_steps, at_rows = ([-1 if axis == name else 1 for axis in axes] for name in ("steps", "batch"))
        inside: Tensor = steps.reshape(at_steps) < lengths.reshape(at_rows)
        return inside


@dataclasses.dataclass(frozen=True)
class Masked:
    """A mask.

    Attributes:
        steps: Where rows end.
        axes: Axes of the mask, as in `Steps.inside`.
        inside: Value before the end of a row.
        after: Value after it.
        dtype: Type of the mask.
    """

    steps: Steps
    axes: tuple[str, ...]
    inside: float
    after: float
    dtype: torch.dtype

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Tensor:
        """Make the mask."""
        inside = self.steps.inside(given, self.axes)
        if self.dtype == torch.bool:
            return inside if self.inside and not self.after else ~inside
        dtype = floating if self.dtype == torch.float32 else self.dtype
        if (self.inside, self.after) == (1, 0):
            return inside.to(dtype)
        return torch.where(inside, torch.tensor(self.inside, dtype=dtype), torch.tensor(self.after, dtype=dtype))


@dataclasses.dataclass(frozen=True)
class Shares:
    """Lengths as shares of the axis, (batch,).

    Attributes:
        steps: Where rows end.
    """

    steps: Steps

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Tensor:
        """Divide the lengths by the number of steps."""
        shares: Tensor = given[self.steps.lengths].to(floating) / self.steps.size(given)
        return shares


@dataclasses.dataclass(frozen=True)
class PaddedIds:
    """Ids with those of padding after the end of each row.

    Attributes:
        steps: Where rows end.
        at: Position of the ids.
        axes: Axes of the ids, as in `Steps.inside`.
        padding: Id of padding.
    """

    steps: Steps
    at: int
    axes: tuple[str, ...]
    padding: int

    def of(self, given: Sequence[Any], floating: torch.dtype) -> Tensor:
        """Write the padding."""
        del floating
        ids: Tensor = given[self.at]
        return torch.where(self.steps.inside(given, self.axes), ids, torch.tensor(self.padding, dtype=ids.dtype))


class MadeArguments(Wrapper):
    """A module that is called with the inputs of a model, and makes of them what the user's module takes.

    Args:
        module: Module that takes the arguments by position.
        arguments: Ways in which each of them comes about, in order.
    """

    floating: Tensor

    def __init__(self, module: nn.Module, arguments: Sequence[Argument]) -> None:
        super().__init__()
        self.module = module
        self._arguments = tuple(arguments)
        self.register_buffer("floating", torch.zeros(()), persistent=False)  # `.double()` changes its type
        self.eval()

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - what the module takes and gives
        """Run the module."""
        return self.module(*(argument.of(args, self.floating.dtype) for argument in self._arguments))
