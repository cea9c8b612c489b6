"""What forward takes for a parameter of several tensors: a tuple, a dict, or a class that is made of them by name."""

import contextlib
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from rnnserve.export.description.forward_parameters import ForwardParameters
from rnnserve.export.description.input_descriptions import MaskDescription
from rnnserve.export.input_drawing import draw_sample
from rnnserve.export.module_interface import Arrays, Constant, Parameter
from rnnserve.export.tensor_shapes import size_limits

__all__ = ["Kind", "kinds_of_groups"]

Kind = Callable[..., Any]
"""What makes of tensors, given by name, what forward takes: a class, or `NestedDict`."""

_LARGEST = 64  # of the sizes tried, where nothing is said


def kinds_of_groups(
    module: nn.Module, forward: ForwardParameters, sizes: Mapping[str, tuple[int, int]]
) -> dict[Parameter, Kind]:
    """Find which parameters of several tensors forward takes as something else than a tuple, and as what.

    Dicts within a dict are as they are described. Of others an annotation says it; else tuples are tried, and dicts
    where forward does not run with them.

    Args:
        module: Module of the user.
        forward: Parameters of its forward.
        sizes: The sizes that the module takes, as far as the user says.
    """
    groups: dict[Parameter, str] = {
        parameter: name
        for parameter, name in zip(forward.parameters, forward.names, strict=True)
        if isinstance(parameter, tuple) and parameter not in forward.nested
    }
    annotated = _annotations(module)
    kinds = {parameter: kind for parameter, name in groups.items() if (kind := _kind(annotated.get(name))) is not None}
    unknown = [parameter for parameter in groups if parameter not in kinds]
    found: dict[Parameter, Kind] = {parameter: kind for parameter, kind in kinds.items() if kind is not tuple}
    found.update(forward.nested)
    if unknown and not _runs(forward, found, sizes):
        as_dicts: dict[Parameter, Kind] = {**found, **dict.fromkeys(unknown, dict)}
        if _runs(forward, as_dicts, sizes):
            return as_dicts
    return found


def _annotations(module: nn.Module) -> dict[str, Any]:
    with contextlib.suppress(Exception):  # names in strings that are not there at run time
        return typing.get_type_hints(module.forward)
    return {name: each.annotation for name, each in inspect.signature(module.forward).parameters.items()}


def _kind(annotation: Any) -> type | None:  # noqa: ANN401 - any annotation
    """Give what an annotation says; None where it says nothing of this."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        kinds = [kind for each in typing.get_args(annotation) if (kind := _kind(each)) is not None]
        return kinds[0] if len(kinds) == 1 else None
    origin = typing.get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return None
    if typing.is_typeddict(origin) or issubclass(origin, Mapping):
        return origin if issubclass(origin, dict) and not typing.is_typeddict(origin) else dict
    if dataclasses.is_dataclass(origin) or hasattr(origin, "_fields"):
        return origin
    return tuple if issubclass(origin, tuple) else None


def _runs(forward: ForwardParameters, kinds: Mapping[Parameter, Kind], sizes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether forward runs with tensors that fit their descriptions."""
    described = {
        name: dataclasses.replace(what, lengths_of="") if isinstance(what, MaskDescription) else what
        for name, what in forward.described.items()
    }  # a mask has a value for each step
    tensors = [what.tensor(name) for name, what in described.items()]
    limits = {axis: sizes.get(axis, (1, _LARGEST)) for axis in size_limits(tensors)}
    arrays = draw_sample(tensors, limits)
    try:
        with torch.no_grad():
            forward.module(*(_argument(parameter, arrays, kinds) for parameter in forward.parameters))
    except Exception:  # noqa: BLE001 - whatever the user's module raises
        return False
    return True


def _argument(parameter: Parameter, arrays: Arrays, kinds: Mapping[Parameter, Kind]) -> Any:  # noqa: ANN401
    if isinstance(parameter, Constant):
        return parameter.value
    if isinstance(parameter, str):
        return torch.from_numpy(arrays[parameter])
    tensors = {name: torch.from_numpy(arrays[name]) for name in parameter}
    kind = kinds.get(parameter, tuple)
    return tuple(tensors.values()) if kind is tuple else kind(**tensors)
