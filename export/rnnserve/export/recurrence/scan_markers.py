"""Where the step of a `scan` begins and ends in a captured program, as two operators of our own.

The step is captured once, between `ScanBegin` and `ScanEnd`, with the program around it; `scan_translation` makes one
ONNX Scan of what is between them. torch's own operator for it, `torch.ops.higher_order.scan`, is a prototype, needs
Dynamo to find the tensors that the step uses from outside, and reaches ONNX as a function that is inlined again.

Both have the attribute `number`, which tells scans of one program apart and keeps the exporter from merging two that
begin with the same tensors. ScanBegin(states, sequences) gives the states before a step, and the step. ScanEnd(states
after the step, outputs of the step, states, sequences) gives the states after the last step, and the stacked outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from rnnserve.export.recurrence.scan_loop import ScanLoop

__all__ = ["BEGIN", "DOMAIN", "END", "MARKER", "is_marker", "mark_begin", "mark_end", "numbers_of"]

DOMAIN, BEGIN, END = "rnnserve", "ScanBegin", "ScanEnd"
MARKER = torch.ops.onnx_symbolic._symbolic_multi_out.default  # noqa: SLF001 - what symbolic_multi_out leaves


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
