"""The axes that are to be dynamic, checked against the sample arguments and in the form that torch.export takes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor
from torch.export import Dim

from rnnserve.export.errors import WrongArguments
from rnnserve.export.torch_adapter import tree_flatten, tree_unflatten

__all__ = ["Argument", "Arguments", "DynamicAxes", "Shapes", "resize"]

Argument: TypeAlias = Any
"""One argument of a function that the user's module calls."""

Arguments: TypeAlias = tuple[Any, ...]
"""The arguments of a forward: tensors, nested tuples, lists and dicts of them, None, plain numbers."""

Shapes: TypeAlias = Any
"""Dynamic shapes as torch.export takes them: parallel to the arguments, at each tensor None or axis -> name."""


@dataclasses.dataclass(frozen=True)
class DynamicAxes:
    """Which axes of which inputs are dynamic."""

    names: tuple[Mapping[int, str], ...]  # axis -> the name asked for, for each tensor among the arguments, in order
    sizes: Mapping[str, int]  # name -> its size in the sample arguments
    labels: tuple[str, ...]  # name of each tensor in messages
    shapes: tuple[Shapes, ...]  # what torch.export takes as `dynamic_shapes`
    variadic: int = 0  # how many arguments are passed to a variadic parameter

    @classmethod
    def of(
        cls, parameters: Sequence[str], args: Arguments, dynamic_shapes: Shapes, input_names: Sequence[str]
    ) -> "DynamicAxes":
        """Check what was asked for against the sample."""
        walk = _Walk(list(input_names))
        specs = _by_position(parameters, args, dynamic_shapes)
        shapes = tuple(walk(arg, spec, name) for arg, spec, name in zip(args, specs, parameters, strict=True))
        variadic = sum(name.startswith("*") for name in parameters)
        shapes = _grouped(shapes, variadic)
        if len(walk.names) != len(input_names):
            raise WrongArguments(
                f"input_names has {len(input_names)} names, {list(input_names)}, for {len(walk.names)} tensors among "
                f"the arguments, {walk.paths}; give one name a tensor, in that order (None and plain numbers have none)"
            )
        if len(set(input_names)) != len(input_names):
            raise WrongArguments(f"input_names has a name twice: {list(input_names)}")
        return cls(tuple(walk.names), walk.sizes, tuple(input_names), shapes, variadic)

    def of_variadic(self, args: Arguments) -> "DynamicAxes":
        """Give the same axes of a module with one variadic parameter for all arguments."""
        return dataclasses.replace(self, shapes=(_shapes(args, self.names),), variadic=len(args))


def _grouped(shapes: tuple[Shapes, ...], variadic: int) -> tuple[Shapes, ...]:
    """Give shapes as torch.export takes them: those of a variadic parameter's arguments are one tuple."""
    return (*shapes[:-variadic], shapes[-variadic:]) if variadic else shapes


def _shapes(args: Arguments, names: Sequence[Mapping[int, str]]) -> tuple[Shapes, ...]:
    leaves, spec = tree_flatten(args)
    rest = iter(names)
    shapes = [dict.fromkeys(next(rest), Dim.DYNAMIC) or None if isinstance(each, Tensor) else None for each in leaves]
    structured: tuple[Shapes, ...] = tree_unflatten(shapes, spec)
    return structured


def _by_position(parameters: Sequence[str], args: Arguments, dynamic_shapes: Shapes) -> list[Any]:
    if dynamic_shapes is None:
        return [None] * len(args)
    if isinstance(dynamic_shapes, Mapping):
        unknown = [name for name in dynamic_shapes if name not in parameters]
        if unknown:
            raise WrongArguments(
                f"dynamic_shapes names {unknown}; the forward's parameters are {list(parameters)}, and it is by these "
                "that a dict of dynamic shapes goes"
            )
        return [dynamic_shapes.get(name) for name in parameters]
    if not isinstance(dynamic_shapes, tuple | list) or len(dynamic_shapes) != len(args):
        got = len(dynamic_shapes) if isinstance(dynamic_shapes, tuple | list) else type(dynamic_shapes).__name__
        raise WrongArguments(
            f"dynamic_shapes has {got} entries for {len(args)} arguments; give one an argument: None, or axis -> name, "
            'such as {0: "batch", 1: "sequence"}'
        )
    return list(dynamic_shapes)


class _Walk:
    """Walks through arguments and their dynamic shapes together, and gathers names and sizes."""

    def __init__(self, input_names: list[str]) -> None:
        self.input_names = input_names
        self.names: list[Mapping[int, str]] = []
        self.paths: list[str] = []
        self.sizes: dict[str, int] = {}
        self.seen_at: dict[str, str] = {}

    def __call__(self, arg: Argument, spec: Shapes, path: str) -> Shapes:
        if isinstance(arg, Tensor):
            return self._tensor(arg, spec, path)
        if isinstance(arg, tuple | list):
            specs = [None] * len(arg) if spec is None else spec
            if not isinstance(specs, tuple | list) or len(specs) != len(arg):
                self._mismatch(path, f"a {type(arg).__name__} of {len(arg)}", spec)
            return type(arg)(self(a, s, f"{path}[{i}]") for i, (a, s) in enumerate(zip(arg, specs, strict=True)))
        if isinstance(arg, Mapping):
            specs = {} if spec is None else spec
            if not isinstance(specs, Mapping) or not set(specs) <= set(arg):
                self._mismatch(path, f"a dict of {list(arg)}", spec)
            return {key: self(value, specs.get(key), f"{path}[{key!r}]") for key, value in arg.items()}
        if spec:
            self._mismatch(path, repr(arg), spec)
        return None

    def _mismatch(self, path: str, what: str, spec: Shapes) -> NoReturn:
        raise WrongArguments(f"dynamic_shapes gives {spec!r} for the argument {path}, which is {what}")

    def _tensor(self, tensor: Tensor, spec: Shapes, path: str) -> dict[int, Any] | None:
        number = len(self.names)
        label = f"`{self.input_names[number]}`" if number < len(self.input_names) else path
        self.paths.append(path)
        shape = tuple(tensor.shape)
        if isinstance(spec, tuple | list):
            if len(spec) != len(shape):
                self._mismatch(path, f"a tensor of {len(shape)} axes, {shape}", spec)
            spec = dict(enumerate(spec))
        if spec is not None and not isinstance(spec, Mapping):
            self._mismatch(path, f"a tensor of shape {shape}", spec)
        names: dict[int, str] = {}
        for axis, value in (spec or {}).items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise WrongArguments(
                    f"dynamic_shapes names axis {axis!r} of {label}, which has {len(shape)} axes, {shape}"
                )
            name = _name(value, label, axis)
            if name is not None:
                names[axis % len(shape)] = name
                self._remember(name, shape[axis], f"axis {axis % len(shape)} of {label}")
        self.names.append(names)
        return dict.fromkeys(names, Dim.DYNAMIC) or None

    def _remember(self, name: str, size: int, where: str) -> None:
        if size == 0:
            raise WrongArguments(
                f"the sample is empty: {where} ({name}) has size 0; give at least one row and one step"
            )
        if self.sizes.setdefault(name, size) != size:
            raise WrongArguments(
                f'the axis "{name}" is {self.sizes[name]} at {self.seen_at[name]} and {size} at {where}; axes of one '
                "name are one size. Is an axis out of place, or does it need another name?"
            )
        self.seen_at.setdefault(name, where)


def _name(value: Shapes, label: str, axis: int) -> str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None
    name = value if isinstance(value, str) else getattr(value, "__name__", None)
    if not isinstance(name, str) or not name:
        raise WrongArguments(
            f"dynamic_shapes gives {value!r} for axis {axis} of {label}; give the axis a name, such as "
            '"batch" or "sequence": batching and padding go by it'
        )
    return name


def resize(args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> Arguments:
    """Copy the arguments with each named axis at another size, its entries repeated or cut.

    Every argument becomes a tensor of its own: one tensor passed twice (zeros for h_0 and c_0) would be captured as one
    input of the program.
    """
    leaves, spec = tree_flatten(args)
    names = iter(axes.names)
    resized = [_resize(leaf, next(names), sizes) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    again: Arguments = tree_unflatten(resized, spec)
    return again


def _resize(tensor: Tensor, names: Mapping[int, str], sizes: Mapping[str, int]) -> Tensor:
    tensor = tensor.detach().clone()
    for axis, name in names.items():
        size = tensor.shape[axis]
        if (wanted := sizes.get(name, size)) != size:
            tensor = tensor.index_select(axis, torch.arange(wanted, device=tensor.device) % size)
    return tensor
