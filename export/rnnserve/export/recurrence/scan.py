"""`scan`: a loop over the steps of a sequence that can be exported, whatever the step computes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.scan_markers import ScanLoop, mark_begin, mark_end
from rnnserve.export.torch_adapter import tree_flatten, tree_unflatten

__all__ = ["scan"]


def scan(
    combine_fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Argument,
    xs: Argument,
    *,
    dim: int = 0,
    reverse: bool = False,
) -> tuple[Argument, Argument]:
    """Call `combine_fn` for each step of a sequence, and pass the state from step to step.

    In eager it is a loop. `export_onnx` makes one ONNX Scan of it, which is right for every number of steps, where a
    Python loop would be right for the sample's number only. Signature and results are those of torch's prototype
    `torch._higher_order_ops.scan`. With a cell, and `input` (batch, sequence, features)::

        def step(h, x):  # (batch, hidden), (batch, features)
            h = cell(x, h)
            return h, h

        h_n, output = scan(step, input.new_zeros(input.size(0), hidden), input, dim=1)

    An export calls `combine_fn` for one step, so all steps have to compute the same: a number that changes from step to
    step has to be a tensor among `xs`, such as `torch.arange(input.size(1))` with `dim=0`. It may use parameters and
    tensors from outside, but may write only to tensors that it has made.

    Args:
        combine_fn: (state before the step, one step of `xs`) -> (state after the step, the step's output).
        init: The state before the first step: a tensor, or nested tuples, lists and dicts of tensors. The state after
            each step has the same structure, shapes and dtypes.
        xs: The sequence: a tensor or a nest of tensors, all with as many steps along the axis `dim`. One step of it
            has the same structure without that axis.
        dim: The axis of the steps in `xs`, and in the outputs.
        reverse: Whether to start at the last step. Outputs stay in the order of `xs`.

    Returns:
        The state after the last step, structured like `init`, and the outputs, stacked along a new axis `dim`.

    Raises:
        UnsupportedModule: If there is no step, if sizes along `dim` differ, or if a step changes the state's structure,
            shapes or dtypes. In eager, too, so that it is seen before the export.
    """
    states, state_spec = tree_flatten(init)
    sequences, step_spec = tree_flatten(xs)
    loop = ScanLoop.of(states, sequences, dim, reverse)

    def step(before: list[Tensor], of_step: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Argument]:
        """Call `combine_fn` with flat lists; the last result is the structure of the output."""
        after, output = combine_fn(
            tree_unflatten(before, state_spec),
            tree_unflatten(of_step, step_spec),
        )
        after, after_spec = tree_flatten(after)
        if after_spec != state_spec:
            raise UnsupportedModule(
                f"a step of scan changes the structure of the state: {state_spec} before the step, {after_spec} after "
                "it. combine_fn returns the pair (state after the step, output of the step)."
            )
        loop.check_states(states, after)
        output, output_spec = tree_flatten(output)
        loop.check_outputs(output)
        return after, output, output_spec

    if capture_session.active():
        number = next(capture_session.current().scans)
        begun = mark_begin(loop, number, states, sequences)
        states_after, output, output_spec = step(*begun)
        final, stacked = mark_end(loop, number, states, sequences, states_after, output)
    else:
        final, stacked, output_spec = _loop(loop, step, states, sequences)
    return (
        tree_unflatten(final, state_spec),
        tree_unflatten(stacked, output_spec),
    )


def _loop(
    loop: ScanLoop,
    step: Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor], Argument]],
    states: list[Tensor],
    sequences: list[Tensor],
) -> tuple[list[Tensor], list[Tensor], Argument]:
    steps = list(zip(*(sequence.unbind(loop.dim) for sequence in sequences), strict=True))
    outputs = []
    for of_step in reversed(steps) if loop.reverse else steps:
        states, output, output_spec = step(states, list(of_step))
        outputs.append(output)
    if loop.reverse:
        outputs.reverse()
    return states, [torch.stack(each, loop.dim) for each in zip(*outputs, strict=True)], output_spec
