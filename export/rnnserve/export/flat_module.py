"""`FlatModule` takes a flat list of tensors and calls the user's module with the arguments that it expects.

After the description, the rest of the export works with named tensors in order. This file turns them into arguments:
tuples, dicts and objects, nested states, masks computed from lengths, and attributes that hold states. The results
become a tuple of tensors.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.interception import intercepted
from rnnserve.export.recurrence.longest_rows import LongestRowMode
from rnnserve.export.recurrence.packing import lenient
from rnnserve.export.surroundings import Wrapper, owner_of
from rnnserve.export.tensors import Arrays
from rnnserve.export.trees import Leaf, Path, Tree, flatten_results, leaves, mapped

MISSING = object()
"""Stands for an attribute that the module doesn't have before its first call."""

_Given = Mapping[str, Any]
"""The tensors of a call by name. An omitted tensor is None."""


class _Argument(Leaf):
    """A rule for an argument of forward. In each call, its value is computed from the call's tensors."""

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401 - any argument of forward
        """Compute the value from a call's tensors. The module runs in the dtype `floating`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Slot(_Argument):
    """An input, unchanged."""

    name: str

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, ARG002, D102
        return given[self.name]


@dataclasses.dataclass(frozen=True)
class Fixed(_Argument):
    """A constant from the publication (`by_user`), or forward's own default. A float32 tensor becomes `floating`."""

    value: Any
    by_user: bool = False

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, ARG002, D102
        is_float = isinstance(self.value, Tensor) and self.value.dtype == torch.float32
        return self.value.to(floating) if is_float else self.value


@dataclasses.dataclass(frozen=True)
class Omissible(_Argument):
    """An argument with a default value, which is used if the call has none of its tensors."""

    argument: Tree
    names: tuple[str, ...]
    default: Any

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, D102
        is_given = any(given[name] is not None for name in self.names)
        return _filled(self.argument, given, floating) if is_given else self.default


@dataclasses.dataclass(frozen=True)
class OfLengths(_Argument):
    """An argument computed from the rows' lengths: a mask, ids padded after each row's end, or fractions of an axis."""

    lengths: str  # the input (batch,) of lengths
    like: str  # an input with the sequence axis
    axis: int  # the position of the sequence axis in this input
    axes: tuple[str, ...] = ()  # axes of the argument: "batch" and "steps", and "" for axes of size 1
    values: tuple[Any, Any] | None = None  # numbers (or an input) before and after a row's end; None for fractions
    dtype: torch.dtype = torch.float32

    def of(self, given: _Given, floating: torch.dtype) -> Tensor:
        """Compute the argument with torch operators, so that the computation becomes part of the graph."""
        size, lengths = given[self.like].shape[self.axis], given[self.lengths]
        if self.values is None:
            shares: Tensor = lengths.to(floating) / size
            return shares
        at_steps, at_rows = ([-1 if axis == name else 1 for axis in self.axes] for name in ("steps", "batch"))
        steps = torch.arange(size, device=lengths.device)
        inside: Tensor = steps.reshape(at_steps) < lengths.reshape(at_rows)
        before, after = self.values
        if self.dtype == torch.bool:
            return inside if before and not after else ~inside
        dtype = floating if self.dtype == torch.float32 else self.dtype
        if (before, after) == (1, 0):
            return inside.to(dtype)
        before = given[before] if isinstance(before, str) else torch.tensor(before, dtype=dtype)
        return torch.where(inside, before, torch.tensor(after, dtype=dtype))


def _filled(tree: Tree, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401 - any argument of forward
    """Replace the rules in a tree by their values for a call."""
    return mapped(tree, lambda _, leaf: leaf.of(given, floating) if isinstance(leaf, _Argument) else leaf)


def slots_in(tree: Tree) -> dict[Path, str]:
    """Return the inputs that a tree contains unchanged, by path."""
    return {path: leaf.name for path, leaf in leaves(tree) if isinstance(leaf, Slot)}


@dataclasses.dataclass(frozen=True)
class Call:
    """The arguments of a module's calls, and the results to return."""

    inputs: tuple[str, ...]  # the names of all tensors, in order
    args: tuple[Tree, ...]
    kwargs: Mapping[str, Tree] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, Tree] = dataclasses.field(default_factory=dict)  # attributes with states
    results: tuple[Path, ...] | None = None  # paths of the outputs in forward's result; None for all tensors in order

    @property
    def optional(self) -> tuple[tuple[str, ...], ...]:
        """Inputs that may be omitted. All inputs of one parameter or attribute are omitted together."""
        arguments = (*self.args, *self.kwargs.values())
        held = (tuple(slots_in(tree).values()) for tree in self.attributes.values())
        return (*(each.names for each in arguments if isinstance(each, Omissible)), *held)

    @property
    def is_plain(self) -> bool:
        """Whether forward takes the inputs by position, unchanged or in tuples, and all its results are outputs."""
        plain = all(map(_is_plain, self.args))
        return plain and not (self.kwargs or self.attributes) and self.results is None


def _is_plain(argument: Tree) -> bool:
    if isinstance(argument, Omissible):
        return _is_plain(argument.argument)
    if type(argument) is tuple:
        return all(map(_is_plain, argument))
    return isinstance(argument, Slot) or (isinstance(argument, Fixed) and not argument.by_user)


class FlatModule(Wrapper):
    """Wraps the user's module so that it takes and returns flat tensors. An omitted tensor is None.

    A lenient `FlatModule` has `rows`: the inputs of lengths, each with an input that has the measured axis, and the
    position of this axis. Its packing functions accept rows in any order, and its longest row is as long as the input.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Call,
        outputs: Iterable[str] = (),
        rows: Sequence[tuple[str, str, int]] | None = None,
    ) -> None:
        super().__init__()
        self.module = _with_forward(module)  # the user's module, in evaluation mode
        self.training = module.training
        self.call = call
        self.outputs = tuple(outputs)
        self._rows = rows
        self._floating = torch.float32

    @property
    def is_lenient(self) -> bool:
        """Whether rows may come in any order."""
        return self._rows is not None

    def with_rows(self, rows: Sequence[tuple[str, str, int]]) -> "FlatModule":
        """Return a lenient wrapper around the same module."""
        return FlatModule(self.module, self.call, self.outputs, rows)

    def double(self) -> "FlatModule":
        """Switch the module and its arguments to float64."""
        self._floating = torch.float64
        return super().double()

    def arguments(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Tensor | None, ...]:
        """Create the tensors of a call. All tensors of one optional parameter may be omitted together."""
        left_out = {name for names in self.call.optional if not arrays.keys() & set(names) for name in names}
        arguments: list[Tensor | None] = []
        for name in self.call.inputs:
            if name in left_out:
                arguments.append(None)
                continue
            made = torch.from_numpy(np.array(arrays[name], order="C"))  # a copy, because forward may write to its input
            is_double = self._floating == torch.float64 and made.is_floating_point()
            arguments.append(made.double() if is_double else made)
        return tuple(arguments)

    def run(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the module without gradients on inputs by name. Returns every result by name."""
        arguments = self.arguments(arrays)
        with torch.no_grad():
            results = self(*arguments)
        if len(results) != len(self.outputs):
            raise WrongArguments(
                f"outputs names {len(self.outputs)} tensors, {list(self.outputs)}, but forward returns "
                f"{len(results)}, of shapes {[list(result.shape) for result in results]}; expected one name for each, "
                "with nested tensors in order"
            )
        return {name: result.detach().numpy() for name, result in zip(self.outputs, results, strict=True)}

    def forward(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Run the module with the given states in its attributes, and restore the attributes afterwards."""
        given = dict(zip(self.call.inputs, tensors, strict=True))
        before = {path: attribute(self.module, path) for path in self.call.attributes}
        try:
            for path, tree in self.call.attributes.items():
                # Copy the states, because forward may write to them.
                found = {name: given[name] for name in slots_in(tree).values()}
                copies = {name: each.clone() for name, each in found.items() if each is not None}
                begun = _filled(tree, copies, torch.float32) if copies else copied(before[path])
                set_attribute(self.module, path, begun)
            result = self.called(given)
            return (*self._results(result), *self._held_states())
        finally:
            for path, value in before.items():
                set_attribute(self.module, path, value)

    def called(self, given: _Given) -> Any:  # noqa: ANN401 - any result of forward
        """Call the module with tensors by name, and return its result."""
        if self._rows is None:
            return self._called(given)
        with intercepted(), lenient(), self._longest_rows(self._rows, given):
            return self._called(given)

    def _called(self, given: _Given) -> Any:  # noqa: ANN401
        args = [_filled(each, given, self._floating) for each in self.call.args]
        kwargs = {name: _filled(each, given, self._floating) for name, each in self.call.kwargs.items()}
        return self.module(*args, **kwargs)

    def asks_for_rows(self, rows: Sequence[tuple[str, str, int]], arrays: Arrays) -> bool:
        """Whether the module's code turns lengths into a number or a list during a call."""
        given = dict(zip(self.call.inputs, self.arguments(arrays), strict=True))
        with intercepted(), self._longest_rows(rows, given) as mode, contextlib.suppress(Exception):
            self._called(given)
        return mode.asked

    @staticmethod
    def _longest_rows(rows: Sequence[tuple[str, str, int]], given: _Given) -> LongestRowMode:
        there = [each for each in rows if given[each[0]] is not None and given[each[1]] is not None]
        return LongestRowMode([(given[lengths], given[like].shape[axis]) for lengths, like, axis in there])

    def _results(self, result: Tree) -> list[Tensor]:
        if self.call.results is None:
            return flatten_results(result)
        found = dict(leaves(result))
        missing = next((path for path in self.call.results if not isinstance(found.get(path), Tensor)), None)
        if missing is not None:
            raise WrongArguments(
                f'forward returns a tensor "{".".join(missing)}" in some calls, but not in others; expected it in '
                "every call"
            )
        return [found[path] for path in self.call.results]

    def _held_states(self) -> list[Tensor]:
        held: list[Tensor] = []
        for path, tree in self.call.attributes.items():
            after = dict(leaves(attribute(self.module, path)))
            found = [each for at in slots_in(tree) if isinstance(each := after.get(at), Tensor)]
            if len(found) < len(slots_in(tree)):
                raise WrongArguments(
                    f'the attribute "{path}" has a different structure after some calls; expected the same structure '
                    "after every call"
                )
            held += found
        return held


def copied(tree: Tree) -> Tree:
    """Copy a tree with all its tensors."""
    return mapped(tree, lambda _, leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf)


def attribute(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - any value
    """Return the value of an attribute, or `MISSING`."""
    return getattr(owner_of(module, path), path.rpartition(".")[2], MISSING)


def set_attribute(module: nn.Module, path: str, value: Any) -> None:  # noqa: ANN401
    """Set an attribute, which may be a buffer. `MISSING` deletes it."""
    holder, name = owner_of(module, path), path.rpartition(".")[2]
    if value is not MISSING:
        setattr(holder, name, value)
    elif hasattr(holder, name):
        delattr(holder, name)


def flat_script(script: torch.jit.ScriptModule, inputs: Sequence[str], outputs: Sequence[str]) -> FlatModule:
    """Wrap a script. Its forward's parameter types determine how the tensors are passed."""
    forward: Any = script.forward  # typed as a plain callable
    arguments = forward.schema.arguments[1:]
    remaining = list(inputs)
    args: list[Tree] = []
    found = 0
    for number, argument in enumerate(arguments):
        kind = argument.type
        kind = kind.getElementType() if kind.kind() == "OptionalType" else kind
        later = {other.name for other in arguments[number + 1 :]}
        is_tensor = kind.kind() == "TensorType"
        # A tensor has the name of its parameter. The tensors of a tuple have other names.
        left_out = not remaining or (remaining[0] != argument.name if is_tensor else remaining[0] in later)
        if (argument.has_default_value() and left_out) or not (is_tensor or kind.kind() == "TupleType"):
            args.append(Fixed(argument.default_value))
            continue
        count = 1 if is_tensor else len(kind.elements())
        found += count
        names = tuple([*remaining, *[""] * count][:count])
        del remaining[:count]
        made: Tree = Slot(names[0]) if is_tensor else tuple(map(Slot, names))
        args.append(Omissible(made, names, argument.default_value) if argument.has_default_value() else made)
    if found != len(inputs):
        raise WrongArguments(f"its forward takes {found} tensors; expected {len(inputs)}: {', '.join(inputs)}")
    return FlatModule(script, Call(tuple(inputs), tuple(args)), outputs)


def _with_forward(module: nn.Module) -> nn.Module:
    """Wrap PyTorch's recurrent layers, because TorchScript compiles their overloads without a method `forward`."""
    forward = None if isinstance(module, torch.jit.ScriptModule) else type(module).forward
    if forward is nn.LSTM.forward:
        return _WithLSTM(module)
    return _WithLayer(module) if forward in (nn.RNN.forward, nn.GRU.forward) else module


class _Layer(nn.Module):
    """Wraps a recurrent layer of PyTorch for scripting. TorchScript reads the types that forward declares."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training


class _WithLayer(_Layer):
    """Wraps nn.RNN or nn.GRU."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the layer."""
        result: tuple[Tensor, Tensor] = self.layer(input, hx)
        return result


class _WithLSTM(_Layer):
    """Wraps nn.LSTM, which has two states."""

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the layer."""
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.layer(input, hx)
        return result
