"""Which sizes to name where the size of a file's output follows from those of its inputs for some of them only."""

from collections.abc import Callable, Mapping

from rnnserve.export.adoption.roles import Roles
from rnnserve.export.errors import ExportError, UnsupportedModule
from rnnserve.protos.protocol_words import BATCH

__all__ = ["advise_sizes"]

_LEAST = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Sizes from which a rule may hold: strides that are multiplied, frames of sound."""

_MOST = 4096
_NEAR, _SPAN = 128, 16  # steps more that are tried first, and times as many
_FOR_MODULES = ". Pad the output"  # from here on, a message speaks to who can change the module


def advise_sizes(
    error: UnsupportedModule,
    describe: Callable[[Mapping[str, tuple[int, int]]], object],
    sizes: Mapping[str, tuple[int, int]],
    roles: Roles,
) -> ExportError:
    """Say which sizes to name, in the place of what a module's author could change.

    Args:
        error: Reason why the outputs cannot be described.
        describe: A function that describes them for the smallest and the largest size of each axis.
        sizes: Sizes that were tried.
        roles: Roles that the user gives.
    """
    said, apart, _ = str(error).partition(_FOR_MODULES)
    if not apart:
        return error
    free = [axis for axis in sizes if axis != BATCH and axis not in roles.sizes]
    for least in _LEAST if free else ():
        most = max(_MOST, _SPAN * least)
        try:
            for high in (max(least + _NEAR, min(sizes[axis][1] for axis in free)), most):
                describe({**sizes, **dict.fromkeys(free, (least, high))})
        except ExportError:
            continue
        options = " ".join(f"--size {axis}={least}:{most}" for axis in free)
        return UnsupportedModule(
            f"{said}. From {least} on it follows one rule; say so, with the largest size: {options}"
        )
    options = " ".join(f"--size {axis}=SIZE" for axis in free)
    return UnsupportedModule(f"{said}. If it is asked with one size only, say which: {options}" if free else said)
