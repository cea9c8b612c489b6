"""The loop of one `scan`: its axis, its number of steps, and what holds of its arguments and of each step."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["ScanLoop"]


@dataclasses.dataclass(frozen=True)
class ScanLoop:
    """The loop of one scan.

    Attributes:
        dim: The axis of the steps, 0 or more.
        reverse: Whether the last step is the first.
        steps: How many there are; a symbol where the axis is dynamic.
    """

    dim: int
    reverse: bool
    steps: int | torch.SymInt

    @classmethod
    def of(cls, states: Sequence[Argument], sequences: Sequence[Argument], dim: int, reverse: bool) -> "ScanLoop":
        """Check the arguments of a scan.

        Raises:
            UnsupportedModule: If they do not fit together; the message says which.
        """
        for name, leaves in (("init", states), ("xs", sequences)):
            other = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
            if other or not leaves:
                raise UnsupportedModule(
                    f"scan got {name} with {', '.join(other) or 'no tensor'}; expected tensors only. A state that is "
                    "None before the first step has to be zeros instead."
                )
        axis = dim + sequences[0].dim() if dim < 0 else dim
        if not all(0 <= axis < sequence.dim() for sequence in sequences):
            shapes = [tuple(sequence.shape) for sequence in sequences]
            raise UnsupportedModule(f"scan got dim={dim} for xs of shapes {shapes}; all need that axis")
        sizes = [sequence.shape[axis] for sequence in sequences]
        if any(size != sizes[0] for size in sizes[1:]):
            raise UnsupportedModule(f"scan got xs of {sizes} steps along axis {axis}; all need the same number")
        if isinstance(sizes[0], int) and sizes[0] == 0:
            raise UnsupportedModule("scan got a sequence without a step")
        return cls(axis, reverse, sizes[0])

    def check_states(self, before: Sequence[Tensor], after: Sequence[Argument]) -> None:
        """Refuse a step that changes shapes or dtypes of the state.

        Raises:
            UnsupportedModule: If it does; the message has both shapes.
        """
        for old, new in zip(before, after, strict=True):
            if not isinstance(new, Tensor):
                raise UnsupportedModule(f"a step of scan gives the state {type(new).__name__}; expected a tensor")
            if new.shape != old.shape or new.dtype != old.dtype:
                raise UnsupportedModule(
                    f"a step of scan changes the state from {tuple(old.shape)}, {old.dtype}, to {tuple(new.shape)}, "
                    f"{new.dtype}. Give the state before the first step the shape and the dtype that it has after each "
                    "step, such as input.new_zeros(input.size(0), hidden)."
                )

    def check_outputs(self, outputs: Sequence[Argument]) -> None:
        """Refuse outputs that cannot be stacked along `dim`.

        Raises:
            UnsupportedModule: If one is no tensor, or has too few axes.
        """
        for output in outputs:
            if not isinstance(output, Tensor) or output.dim() < self.dim:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise UnsupportedModule(
                    f"a step of scan gives the output {got}; expected a tensor of {self.dim} axes or more, to be "
                    f"stacked along axis {self.dim}. combine_fn returns the pair (state after the step, output of the "
                    "step)."
                )
