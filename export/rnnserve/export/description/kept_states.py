"""Naming a state that a module keeps from one call to the next, where that is why it does not take its inputs."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import held_values
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.recurrence.refusals import keeps_state
from rnnserve.export.surroundings import restoring
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["naming_kept_states"]

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
        module: Module that is described.
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
        smallest = {axis: low for axis, (low, _) in sizes.items()}

        def takes(rows: int, *, again: bool = False) -> bool:
            for restore in () if again else as_now:
                restore()
            try:
                compute(draw_inputs(inputs, np.random.default_rng(0), smallest | {BATCH: rows}))
            except Exception:  # noqa: BLE001 - whatever the user's module raises
                return False
            return True

        low, high = sizes[BATCH]
        names = set()
        for rows in range(low, min(max(low, _MOST_HELD), high)):
            takes_more = takes(rows + 1)
            for restore in as_now:
                restore()
            before = held_values(module)
            if takes(rows) and not takes(rows + 1, again=True):
                names = _changed(before, held_values(module), None if takes_more else rows)
                break
        if names:
            raise keeps_state(names) from error
        raise


def _changed(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]], rows: int | None) -> set[str]:
    """Name what calls have put other values into; given rows, tensors of so many in the place of such alone."""
    changed = set()
    for name, leaves in after.items():
        pairs = list(itertools.zip_longest(before.get(name, []), leaves))
        if any(one is not other if rows is None else _are_of_rows(one, other, rows) for one, other in pairs):
            changed.add(name)
    return changed


def _are_of_rows(one: object, other: object, rows: int) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)) or one is other:
        return False
    return one.shape == other.shape and rows in one.shape
