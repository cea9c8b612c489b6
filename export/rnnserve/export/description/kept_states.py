"""Naming a state that a module keeps from one call to the next, where that is why it does not take its inputs."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

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
            of what the call has changed.
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
    before = held_values(module)
    takes(few)
    after = held_values(module)
    if not takes_alone or takes(more):
        return set()
    return {name for name, leaves in after.items() if not _are_same(before.get(name, []), leaves)}


def _are_same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
