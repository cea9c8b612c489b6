"""Where the step of a `scan` begins and ends in a captured program, as two operators of our own.

The step is captured once, between `ScanBegin` and `ScanEnd`, with the program around it; `scan_translation` makes one
ONNX Scan of what is between them. torch's own operator for it, `torch.ops.higher_order.scan`, is a prototype, needs
Dynamo to find the tensors that the step uses from outside, and reaches ONNX as a function that is inlined again.

Both have the attribute `number`, which tells scans of one program apart and keeps the exporter from merging two that
begin with the same tensors. ScanBegin(states, sequences) gives the states before a step, and the step. ScanEnd(states
after the step, outputs of the step, states, sequences) gives the states after the last step, and the stacked outputs.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.torch_adapter import MULTI_OUT

__all__ = ["BEGIN", "DOMAIN", "END", "MARKER", "ScanLoop", "is_marker", "mark_begin", "mark_end", "numbers_of"]

DOMAIN, BEGIN, END = "rnnserve", "ScanBegin", "ScanEnd"
MARKER = MULTI_OUT


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


def mark_begin(
    loop: ScanLoop, number: int, states: Sequence[Tensor], sequences: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Put ScanBegin into the captured program.

    Args:
        loop: Loop of the scan.
        number: Another one for each scan of the program.
        states: States before the first step.
        sequences: Each with `loop.steps` steps along the axis `loop.dim`.

    Returns:
        The states before a step, and one step of each sequence.
    """
    shapes = [
        *(state.shape for state in states),
        *((*sequence.shape[: loop.dim], *sequence.shape[loop.dim + 1 :]) for sequence in sequences),
    ]
    inputs = [*states, *sequences]
    results = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{BEGIN}", inputs, {"number": number}, dtypes=[each.dtype for each in inputs], shapes=shapes
    )
    return list(results[: len(states)]), list(results[len(states) :])


def mark_end(
    loop: ScanLoop,
    number: int,
    states: Sequence[Tensor],
    sequences: Sequence[Tensor],
    states_after: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Put ScanEnd into the captured program.

    Args:
        loop: Loop of the scan.
        number: Number of the scan, as for `mark_begin`.
        states: States before the first step, as for `mark_begin`.
        sequences: Sequences of the scan, as for `mark_begin`.
        states_after: States after the step.
        outputs: Outputs of the step.

    Returns:
        The states after the last step, and the outputs with the axis of the steps.
    """
    of_step = [*states_after, *outputs]
    shapes = [
        *(state.shape for state in states),
        *((*output.shape[: loop.dim], loop.steps, *output.shape[loop.dim :]) for output in outputs),
    ]
    results = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{END}",
        [*of_step, *states, *sequences],
        {"number": number, "states": len(states), "outputs": len(outputs), "dim": loop.dim, "reverse": loop.reverse},
        dtypes=[each.dtype for each in of_step],
        shapes=shapes,
    )
    return list(results[: len(states)]), list(results[len(states) :])


def is_marker(node: fx.Node, name: str) -> bool:
    """Whether a node of the captured program is the marker `name`, BEGIN or END."""
    return node.target is MARKER and node.args[1] == name and node.kwargs.get("domain") == DOMAIN


def numbers_of(marker: fx.Node) -> list[int]:
    """Give the number of the scan that a marker is of; for END its numbers of states and outputs, too, and more."""
    numbers = marker.kwargs["attr_ints"]
    assert isinstance(numbers, list | tuple)  # noqa: S101 - as torch.onnx.ops writes attributes
    return [number for number in numbers if isinstance(number, int)]
