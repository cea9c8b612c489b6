"""What a state is before the first step, as its description says it: an array of one row."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from rnnserve.export.description.input_descriptions import InputDescription
from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import Arrays

__all__ = ["read_initial_values"]


def read_initial_values(described: Mapping[str, InputDescription], states: Collection[str]) -> Arrays:
    """Give the initial values that descriptions have, zeros among them, of size 1 along dynamic axes.

    Args:
        described: Descriptions of the inputs, by name.
        states: The inputs that are states.

    Raises:
        WrongArguments: If one is of no state, or does not fit the input's axes, dtype or bounds.
    """
    found: Arrays = {}
    for name, what in described.items():
        if what.initial is None:
            continue
        if name not in states:
            raise WrongArguments(
                f'inputs["{name}"] has initial=, but is no state; states={{"…": "{name}"}} says which output it '
                "continues"
            )
        found[name] = _of_one_row(name, what)
    return found


def _of_one_row(name: str, what: InputDescription) -> Any:  # noqa: ANN401 - an array of any dtype
    given = what.initial.detach() if hasattr(what.initial, "detach") else what.initial  # a parameter of the module
    array = np.asarray(given)
    shape = tuple(max(size, 1) for _, size in what.axes)
    axes = ", ".join(axis for axis, _ in what.axes)
    try:
        row = np.broadcast_to(array, shape)
    except ValueError as error:
        raise WrongArguments(
            f'inputs["{name}"] has initial= of shape {list(array.shape)}; expected {list(shape)}, ({axes}): one row, '
            "which is the same for every sequence"
        ) from error
    if array.dtype.kind not in "biuf":
        raise WrongArguments(f'inputs["{name}"] has initial={what.initial!r}; expected a number or an array of numbers')
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise WrongArguments(f'inputs["{name}"] has initial= with NaN; expected numbers, or infinities')
    with np.errstate(invalid="ignore", over="ignore"):
        cast = np.ascontiguousarray(row.astype(what.dtype))
    if what.dtype.kind != "f" and not np.array_equal(cast, row):
        raise WrongArguments(f'inputs["{name}"] is {what.dtype}, but has initial={what.initial!r}')
    has_bounds = what.dtype.kind in "iu" and what.low is not None and what.high is not None
    if has_bounds and not ((cast >= what.low) & (cast < what.high)).all():
        raise WrongArguments(
            f'inputs["{name}"] has initial={what.initial!r}; expected values from {what.low} to below {what.high}'
        )
    return cast
