"""Modules that pack rows in one order only, or ask how long the longest row is: run leniently, where that is right."""

from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.export.description.forward_trials import unsorted_lengths
from rnnserve.export.flat_module import Call, FlatModule
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.tensor_shapes import lengths_inputs
from rnnserve.protos import manifest_pb2

__all__ = ["made_lenient"]

_ROUNDING = 1e-5


def made_lenient(
    module: FlatModule,
    interface: ModuleInterface,
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
) -> FlatModule:
    """Give a module that takes rows in any order, and lengths below the number of steps, where that is the same module.

    Args:
        module: Module in evaluation mode.
        interface: Order and names of its tensors.
        inputs: Inputs, described.
        sizes: The smallest and the largest size of each dynamic axis.

    Returns:
        The module itself, where it takes such rows and asks for no row's length as a number, or where it gives other
        results when it is lenient. Results are compared on sorted rows, which the module takes as it is, too.
    """
    names = list(lengths_inputs(inputs).values())
    if not names:
        return module
    unsorted = unsorted_lengths(inputs, sizes)
    full = {**unsorted, **{name: np.full_like(unsorted[name], unsorted[name].max() + 1) for name in names}}
    ordered = {**unsorted, **{name: unsorted[name][::-1].copy() for name in names}}
    results = {name: _results(module, interface, each) for name, each in (("full", full), ("unsorted", unsorted))}
    shapes, rows = _shapes(results["full"]), _rows(module.call, inputs)
    if shapes is None:
        return module
    takes_any = _shapes(results["unsorted"]) == shapes
    if takes_any and not module.asks_for_rows(rows, interface.arguments(unsorted)):
        return module
    lenient = FlatModule(module.module, module.call, rows)
    found = _results(lenient, interface, unsorted)
    pairs = (
        (results["full"], _results(lenient, interface, full)),
        (results["unsorted"], found),
        (_results(module, interface, ordered), _results(lenient, interface, ordered)),
    )
    return lenient if _shapes(found) == shapes and all(_agree_as_far(*pair) for pair in pairs) else module


def _rows(call: Call, inputs: Sequence[manifest_pb2.Tensor]) -> list[tuple[str, str, int]]:
    """Give the inputs that are lengths, each with another one that has its axis, and where."""
    optional = {name for names in call.optional for name in names}
    places: dict[str, tuple[str, int]] = {}
    for tensor in sorted(inputs, key=lambda each: each.name in optional):  # what may be left out comes last
        for at, axis in enumerate(tensor.axes):
            places.setdefault(axis.name, (tensor.name, at))
    return [(name, *places[axis]) for axis, name in lengths_inputs(inputs).items()]


def _results(module: FlatModule, interface: ModuleInterface, arrays: Arrays) -> Arrays | None:
    try:
        return interface.call(module, arrays)
    except Exception:  # noqa: BLE001 - whatever the user's module raises
        return None


def _shapes(results: Arrays | None) -> dict[str, tuple[int, ...]] | None:
    return None if results is None else {name: array.shape for name, array in results.items()}


def _agree_as_far(plain: Arrays | None, found: Arrays | None) -> bool:
    """Whether a lenient module gives what the module itself gives, as far as that goes, where it takes the rows."""
    for name, array in (plain or {}).items():
        if found is None or array.ndim != found[name].ndim:
            return False
        same = found[name][tuple(slice(size) for size in array.shape)]
        if same.shape != array.shape or not np.allclose(array, same, _ROUNDING, _ROUNDING, equal_nan=True):
            return False
    return True
