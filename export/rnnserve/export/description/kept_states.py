"""Naming a state that a module keeps from one call to the next, where that is why it does not take its inputs."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.outer_variables import held_values
from rnnserve.export.recurrence.refusals import keeps_state
from rnnserve.export.surroundings import restoring
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["naming_kept_states"]

_ROWS = (2, 3)

_MOST_HELD = 8
"""Rows that a state may have when a module is published: one, or those of the last batch that it was tried with."""


@contextlib.contextmanager
def naming_kept_states(
    module: nn.Module,
    compute: Callable[[Arrays], Arrays],
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
) -> Iterator[None]:
    """Look for a kept state where the module does not take inputs in the context: it has the rows of a call before.

    Args:
        module: Module of the user's.
        compute: Function that runs it.
        inputs: Inputs, described.
        sizes: The smallest and the largest size of each dynamic axis.

    Raises:
        UnsupportedModule: If it takes some rows after a call with others only if that call is undone; with the names
            of what the call has changed. Likewise if it takes only as many rows as it holds a state of.
    """
    as_now = restoring(module)
    try:
        yield
    except WrongArguments as error:
        names = _changed_by_rows(module, compute, inputs, sizes, as_now)
        if names:
            raise keeps_state(names) from error
        raise


def _changed_by_rows(
    module: nn.Module,
    compute: Callable[[Arrays], Arrays],
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
    as_now: Sequence[Callable[[], object]],
) -> set[str]:
    few, more = (min(max(rows, sizes[BATCH][0]), sizes[BATCH][1]) for rows in _ROWS)

    def takes(rows: int) -> bool:
        drawn = draw_inputs(
            inputs, np.random.default_rng(0), {axis: low for axis, (low, _) in sizes.items()} | {BATCH: rows}
        )
        try:
            compute(drawn)
        except Exception:  # noqa: BLE001 - whatever the user's module raises
            return False
        return True

    def again() -> None:
        for restore in as_now:
            restore()

    again()
    takes_alone = takes(more)
    again()
    before = _held(module)
    takes(few)
    after = _held(module)
    if takes_alone and not takes(more):
        return {name for name, leaves in after.items() if not _are_same(before.get(name, []), leaves)}
    if takes_alone:
        return set()
    for rows in range(max(1, sizes[BATCH][0]), min(_MOST_HELD, sizes[BATCH][1]) + 1):
        again()
        before = _held(module)
        if takes(rows):
            return {name for name, leaves in _held(module).items() if _is_of_rows(before.get(name, []), leaves, rows)}
    return set()


def _held(module: nn.Module) -> dict[str, list[Any]]:
    return held_values(module) | {name: [buffer] for name, buffer in module.named_buffers()}


def _is_of_rows(before: Sequence[Any], after: Sequence[Any], rows: int) -> bool:
    """Whether a call has put other tensors of the same sizes, with so many rows, in the place of tensors."""
    pairs = list(zip(before, after, strict=False))
    return len(before) == len(after) and any(
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one is not other
        and one.shape == other.shape
        and rows in one.shape
        for one, other in pairs
    )


def _are_same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
