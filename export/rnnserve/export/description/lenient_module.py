"""Modules that pack rows in one order only, or ask how long the longest row is: run leniently, where that is right."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rnnserve.export.description.forward_trials import unsorted_lengths
from rnnserve.export.held_modules import Wrapper
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.recurrence.interception import intercepted
from rnnserve.export.recurrence.lenient_packing import lenient
from rnnserve.export.recurrence.longest_rows import LongestRowMode
from rnnserve.export.tensor_shapes import lengths_inputs
from rnnserve.protos import manifest_pb2

__all__ = ["LenientModule", "made_lenient"]

_ROUNDING = 1e-5


class LenientModule(Wrapper):
    """A module whose packing functions take rows in any order, and for which the longest row has the input's steps.

    Args:
        module: Module in evaluation mode.
        lengths: Positions of its arguments that are lengths, (batch,), each with that of an argument that has the
            sequence axis, and the axis's position in it.
    """

    def __init__(self, module: nn.Module, lengths: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        self.module = module
        self._lengths = tuple(lengths)
        self.eval()

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - what the module takes and gives
        """Run the module."""
        with intercepted(), lenient(), self._longest_rows(args):
            return self.module(*args)

    def asks_in(self, args: Sequence[Any]) -> bool:
        """Whether the module's code makes a number or a list of lengths, in a call."""
        with intercepted(), self._longest_rows(args) as mode, contextlib.suppress(Exception):
            self.module(*args)
        return mode.asked

    def _longest_rows(self, args: Sequence[Any]) -> LongestRowMode:
        given = [(args[at], args[like], axis) for at, like, axis in self._lengths]
        both = [(lengths, of, axis) for lengths, of, axis in given if isinstance(lengths, Tensor) and of is not None]
        return LongestRowMode([(lengths, of.shape[axis]) for lengths, of, axis in both])


def made_lenient(
    module: nn.Module,
    interface: ModuleInterface,
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
) -> nn.Module:
    """Give a module that takes rows in any order, and lengths below the number of steps, where that is the same module.

    Args:
        module: Module in evaluation mode.
        interface: Order and names of its arguments and results.
        inputs: Inputs, described.
        sizes: The smallest and the largest size of each dynamic axis.

    Returns:
        The module itself, where it takes such rows and asks for no row's length as a number, or where it gives other
        results when it is lenient. Results are compared on sorted rows, which the module takes as it is, too.
    """
    names = list(lengths_inputs(inputs).values())
    if not names:
        return module
    arrays = unsorted_lengths(inputs, sizes)
    full = {**arrays, **{name: np.full_like(arrays[name], arrays[name].max() + 1) for name in names}}
    ordered = {**arrays, **{name: arrays[name][::-1].copy() for name in names}}
    of_full, of_arrays = (_results(module, interface, each) for each in (full, arrays))
    shapes = _shapes(of_full)
    if shapes is None:
        return module
    wrapped = LenientModule(module, _positions(interface, inputs))
    if _shapes(of_arrays) == shapes and not wrapped.asks_in(interface.arguments(arrays)):
        return module
    found = _results(wrapped, interface, arrays)
    if _shapes(found) != shapes:
        return module
    pairs = (
        (of_full, _results(wrapped, interface, full)),
        (of_arrays, found),
        (_results(module, interface, ordered), _results(wrapped, interface, ordered)),
    )
    return wrapped if all(_agree_as_far(*pair) for pair in pairs) else module


def _positions(interface: ModuleInterface, inputs: Sequence[manifest_pb2.Tensor]) -> list[tuple[int, int, int]]:
    """Give the lengths that are parameters by themselves, each with another one that has its axis, and where."""
    described = {tensor.name: tensor for tensor in inputs}
    at = {name: number for number, name in enumerate(interface.parameters) if isinstance(name, str)}
    places: dict[str, tuple[int, int]] = {}
    for name in sorted(at, key=lambda each: each in interface.defaults):  # what may be left out comes last
        for number, axis in enumerate(described[name].axes):
            places.setdefault(axis.name, (at[name], number))
    return [(at[name], *places[axis]) for axis, name in lengths_inputs(inputs).items() if name in at and axis in places]


def _results(module: nn.Module, interface: ModuleInterface, arrays: Arrays) -> Arrays | None:
    try:
        return interface.call(module, arrays)
    except Exception:  # noqa: BLE001 - whatever the user's module raises
        return None


def _shapes(results: Arrays | None) -> dict[str, tuple[int, ...]] | None:
    return None if results is None else {name: array.shape for name, array in results.items()}


def _agree_as_far(plain: Arrays | None, found: Arrays | None) -> bool:
    """Whether a lenient module gives what the module itself gives, where that takes the rows."""
    return plain is None or (found is not None and all(_agree(plain[name], found[name]) for name in plain))


def _agree(plain: Any, found: Any) -> bool:  # noqa: ANN401 - arrays
    """Whether two results are the same as far as the first one goes."""
    if plain.ndim != found.ndim or any(size > other for size, other in zip(plain.shape, found.shape, strict=True)):
        return False
    same = found[tuple(slice(size) for size in plain.shape)]
    return bool(np.allclose(plain, same, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True))
