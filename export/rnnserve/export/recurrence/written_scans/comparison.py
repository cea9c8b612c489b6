"""Results of a module at a few sizes, to compare a function that is written anew with the user's."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes, resize
from rnnserve.export.recurrence.size_probing import Limits

__all__ = ["results_at_sizes", "results_of", "same_results", "sample_at"]

_STEPS = (5, 3)
"""Sizes of every dynamic axis but the batch's."""


def sample_at(args: Arguments, axes: DynamicAxes, sizes: Limits, steps: int = _STEPS[0]) -> Arguments:
    """Give sample arguments of two rows, and of as many steps as the module takes up to `steps`."""
    wanted = {}
    for name in axes.sizes:
        low, high = sizes.get(name, (1, None))
        wanted[name] = max(low, min(steps if name != "batch" else 2, high or steps))
    return resize(args, axes, wanted)


def results_of(module: nn.Module, sample: Arguments) -> list[Any]:
    """Run a module, and give the leaves of its results."""
    copies = torch.utils._pytree.tree_map_only(Tensor, torch.clone, sample)  # noqa: SLF001
    with torch.no_grad():
        leaves: list[Any] = torch.utils._pytree.tree_leaves(module(*copies))  # noqa: SLF001
    return leaves


def results_at_sizes(module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits) -> list[list[Any]] | None:
    """Run a module at each of the sizes; None where it fails, whatever the reason is.

    Raises:
        UnsupportedModule: If that is what fails.
    """
    try:
        return [results_of(module, sample_at(args, axes, sizes, steps)) for steps in _STEPS]
    except UnsupportedModule:
        raise
    except Exception:  # noqa: BLE001 - what fails is neither used nor shown
        return None


def same_results(some: Sequence[Argument], others: Sequence[Argument]) -> bool:
    """Whether results are the same, but for rounding."""
    return all(map(_same, some, others))


def _same(one: Argument, other: Argument) -> bool:
    return len(one) == len(other) and all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) if a.shape == b.shape else False
        for a, b in zip(one, other, strict=True)
        if isinstance(a, Tensor) and isinstance(b, Tensor)
    )
