"""A call is a tree: `FlatModule` takes flat tensors, and calls the user's module with what that takes.

Everything after the description sees the tensors of a model by name and in order. In here they become arguments: in
tuples, dicts and objects, nested states, masks made of lengths, attributes that hold states. Results become a tuple.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import Wrapper, owner_of
from rnnserve.export.recurrence.interception import intercepted
from rnnserve.export.recurrence.longest_rows import LongestRowMode
from rnnserve.export.recurrence.packing import lenient
from rnnserve.export.tensors import Arrays
from rnnserve.export.trees import NoTensor, Path, Tree, flatten_results, leaves, made_of_a_tensor, mapped

__all__ = [
    "MISSING",
    "Argument",
    "Call",
    "Filled",
    "Fixed",
    "FlatModule",
    "Grouped",
    "OfLengths",
    "Omissible",
    "Slot",
    "attribute",
    "flat_script",
    "set_attribute",
    "slots_of",
]

MISSING = object()
"""What an attribute is that a module does not have before its first call."""

_Given = Mapping[str, Any]
"""The tensors of a call by name, with None for those that are left out."""


class Argument(Protocol):
    """How one argument of forward is made."""

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401 - what forward takes
        """Make the argument of the tensors of a call. The module runs in the type `floating`."""


class Slot:
    """An input as it is. A leaf of trees, and so no dataclass."""

    def __init__(self, name: str) -> None:
        self.name = name

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, ARG002, D102
        return given[self.name]


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A constant that a publication gives (`by_user`), or forward's own default."""

    value: Any
    by_user: bool = False

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, ARG002
        """Return the value. Tensors of float32 get the type in which the module runs."""
        is_float = isinstance(self.value, Tensor) and self.value.dtype == torch.float32
        return self.value.to(floating) if is_float else self.value


@dataclasses.dataclass(frozen=True)
class Grouped:
    """Several tensors in one argument: `kind` is `tuple`, or takes them by their keys, as `dict` and classes do."""

    kind: Callable[..., Any]
    parts: Mapping[str, Argument]

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, D102
        made = {key: part.of(given, floating) for key, part in self.parts.items()}
        return tuple(made.values()) if self.kind is tuple else self.kind(**made)


@dataclasses.dataclass(frozen=True)
class Filled:
    """A nested state: a tree whose tensors are slots."""

    tree: Tree

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, D102
        return mapped(self.tree, lambda _, leaf: leaf.of(given, floating) if isinstance(leaf, Slot) else leaf)

    @property
    def names(self) -> dict[Path, str]:
        """The names of the tensors by path."""
        return {path: leaf.name for path, leaf in leaves(self.tree) if isinstance(leaf, Slot)}


@dataclasses.dataclass(frozen=True)
class Omissible:
    """An argument with a default, which it is if none of its tensors is given."""

    argument: Argument
    names: tuple[str, ...]
    default: Any

    def of(self, given: _Given, floating: torch.dtype) -> Any:  # noqa: ANN401, D102
        is_given = any(given[name] is not None for name in self.names)
        return self.argument.of(given, floating) if is_given else self.default


@dataclasses.dataclass(frozen=True)
class OfLengths:
    """A mask, ids with padding after the end of each row, or shares of an axis: made of the lengths of rows."""

    lengths: str  # the input (batch,) that holds the lengths
    like: str  # an input that has the sequence axis
    axis: int  # the axis's position in it
    axes: tuple[str, ...] = ()  # of what is made: "batch" and "steps", and "" for axes of size 1
    values: tuple[Any, Any] | None = None  # before the end of a row and after it: a number or an input; None for shares
    dtype: torch.dtype = torch.float32

    def of(self, given: _Given, floating: torch.dtype) -> Tensor:
        """Make it by operators of torch, so that the graph holds them."""
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


@dataclasses.dataclass(frozen=True)
class Call:
    """How a module is called."""

    inputs: tuple[str, ...]  # the names of all tensors, in order
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, Filled] = dataclasses.field(default_factory=dict)  # they hold states
    results: tuple[Path, ...] | None = None  # of the outputs in what forward returns; None for all tensors in order

    @property
    def optional(self) -> tuple[tuple[str, ...], ...]:
        """Inputs that may be left out, those of one parameter or attribute together."""
        arguments = (*self.args, *self.kwargs.values())
        held = (tuple(each.names.values()) for each in self.attributes.values())
        return (*(each.names for each in arguments if isinstance(each, Omissible)), *held)

    @property
    def is_plain(self) -> bool:
        """Whether forward takes the inputs by position, as they are or in tuples, and gives all results."""
        plain = all(map(_is_plain, self.args))
        return plain and not (self.kwargs or self.attributes) and self.results is None


class FlatModule(Wrapper):
    """A module of flat tensors around the user's. None stands for a tensor that is left out.

    A lenient one has `rows`: inputs that are lengths, each with an input that has their axis, and its position there.
    Its packing functions take rows in any order, and its longest row has the input's steps.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Call,
        outputs: Iterable[str] = (),
        rows: Sequence[tuple[str, str, int]] | None = None,
    ) -> None:
        super().__init__()
        self.module = _with_forward(module)  # the user's, in evaluation mode
        self.training = module.training
        self.call = call
        self.outputs = tuple(outputs)
        self._rows = rows
        self._floating = torch.float32

    @property
    def is_lenient(self) -> bool:
        """Whether rows come in any order."""
        return self._rows is not None

    def with_rows(self, rows: Sequence[tuple[str, str, int]]) -> "FlatModule":
        """Make the lenient module of the same one."""
        return FlatModule(self.module, self.call, self.outputs, rows)

    def double(self) -> "FlatModule":
        """Run in float64, with arguments of float64."""
        self._floating = torch.float64
        return super().double()

    def arguments(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Tensor | None, ...]:
        """Make the tensors of a call; optional ones may be left out, as a parameter's tensors together."""
        left_out = {name for names in self.call.optional if not arrays.keys() & set(names) for name in names}
        arguments: list[Tensor | None] = []
        for name in self.call.inputs:
            if name in left_out:
                arguments.append(None)
                continue
            made = torch.from_numpy(np.array(arrays[name], order="C"))  # a copy: a forward may write to its input
            is_double = self._floating == torch.float64 and made.is_floating_point()
            arguments.append(made.double() if is_double else made)
        return tuple(arguments)

    def run(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the module without gradients, on inputs by name; give every result by name.

        Raises:
            WrongArguments: If it gives another number of results than there are outputs.
        """
        arguments = self.arguments(arrays)
        with torch.no_grad():
            try:
                results = self(*arguments)
            except NoTensor as error:
                raise made_of_a_tensor(error, lambda: self(*arguments)) from None
        if len(results) != len(self.outputs):
            raise WrongArguments(
                f"outputs names {len(self.outputs)} tensors, {list(self.outputs)}, but forward gives {len(results)}, "
                f"of shapes {[list(result.shape) for result in results]}; name each, nested ones in order"
            )
        return {name: result.detach().numpy() for name, result in zip(self.outputs, results, strict=True)}

    def forward(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Run the module."""
        given = dict(zip(self.call.inputs, tensors, strict=True))
        with self._attributes_kept():
            for path, state in self.call.attributes.items():
                _begin(self.module, path, state, given)
            result = self.called(given)
            return (*self._results(result), *self._held_states())

    def called(self, given: _Given) -> Any:  # noqa: ANN401 - what a forward returns
        """Call the module with tensors by name, and give what it returns."""
        if self._rows is None:
            return self._called(given)
        with intercepted(), lenient(), self._longest_rows(self._rows, given):
            return self._called(given)

    def _called(self, given: _Given) -> Any:  # noqa: ANN401
        args = [each.of(given, self._floating) for each in self.call.args]
        kwargs = {name: each.of(given, self._floating) for name, each in self.call.kwargs.items()}
        return self.module(*args, **kwargs)

    def asks_for_rows(self, rows: Sequence[tuple[str, str, int]], arrays: Arrays) -> bool:
        """Whether the module's code makes a number or a list of lengths, in a call."""
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
            raise WrongArguments(f'forward gives a tensor "{".".join(missing)}" in some calls, and none in others')
        return [found[path] for path in self.call.results]

    def _held_states(self) -> Iterator[Tensor]:
        for path, state in self.call.attributes.items():
            after = dict(leaves(attribute(self.module, path)))
            if not all(isinstance(after.get(each), Tensor) for each in state.names):
                raise WrongArguments(f'the attribute "{path}" has another structure after some calls')
            yield from (after[each] for each in state.names)

    @contextlib.contextmanager
    def _attributes_kept(self) -> Iterator[None]:
        before = {path: attribute(self.module, path) for path in self.call.attributes}
        try:
            yield
        finally:
            for path, value in before.items():
                set_attribute(self.module, path, value)


def _begin(module: nn.Module, path: str, state: Filled, given: _Given) -> None:
    """Set an attribute before a call: to copies, since forward may write to them."""
    names = state.names.values()
    if all(given[name] is None for name in names):
        held = attribute(module, path)
        copied = mapped(held, lambda _, leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)
        set_attribute(module, path, copied)
    else:
        set_attribute(module, path, state.of({name: given[name].clone() for name in names}, torch.float32))


def slots_of(argument: Argument) -> tuple[str, ...]:
    """Name the tensors that an argument takes as they are. There are none if one is made of lengths."""
    if isinstance(argument, Slot):
        return (argument.name,)
    if isinstance(argument, Filled):
        return tuple(argument.names.values())
    parts = [slots_of(each) for each in argument.parts.values()] if isinstance(argument, Grouped) else []
    return tuple(name for each in parts for name in each) if all(parts) else ()


def _is_plain(argument: Argument) -> bool:
    if isinstance(argument, Omissible):
        return _is_plain(argument.argument)
    if isinstance(argument, Grouped):
        return argument.kind is tuple and all(map(_is_plain, argument.parts.values()))
    return isinstance(argument, Slot) or (isinstance(argument, Fixed) and not argument.by_user)


def attribute(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - whatever it holds
    """Return what an attribute holds, or `MISSING`."""
    return getattr(owner_of(module, path), path.rpartition(".")[2], MISSING)


def set_attribute(module: nn.Module, path: str, value: Any) -> None:  # noqa: ANN401
    """Set an attribute, a buffer among them. `MISSING` takes it away."""
    holder, name = owner_of(module, path), path.rpartition(".")[2]
    if value is not MISSING:
        setattr(holder, name, value)
    elif hasattr(holder, name):
        delattr(holder, name)


def flat_script(script: torch.jit.ScriptModule, inputs: Sequence[str], outputs: Sequence[str]) -> FlatModule:
    """Read from the types of a script's forward how it takes its tensors.

    Raises:
        WrongArguments: If it takes more or fewer tensors.
    """
    forward: Any = script.forward  # typed as a plain callable
    arguments = forward.schema.arguments[1:]
    remaining = list(inputs)
    args: list[Argument] = []
    found = 0
    for number, argument in enumerate(arguments):
        kind = argument.type
        kind = kind.getElementType() if kind.kind() == "OptionalType" else kind
        later = {other.name for other in arguments[number + 1 :]}
        is_tensor = kind.kind() == "TensorType"
        # A tensor has its argument's name, and the tensors of a tuple have names of their own.
        left_out = not remaining or (remaining[0] != argument.name if is_tensor else remaining[0] in later)
        if (argument.has_default_value() and left_out) or not (is_tensor or kind.kind() == "TupleType"):
            args.append(Fixed(argument.default_value))
            continue
        count = 1 if is_tensor else len(kind.elements())
        found += count
        names = tuple([*remaining, *[""] * count][:count])
        del remaining[:count]
        made: Argument = Slot(names[0]) if is_tensor else Grouped(tuple, {name: Slot(name) for name in names})
        args.append(Omissible(made, names, argument.default_value) if argument.has_default_value() else made)
    if found != len(inputs):
        raise WrongArguments(f"its forward takes {found} tensors; expected {len(inputs)}: {', '.join(inputs)}")
    return FlatModule(script, Call(tuple(inputs), tuple(args)), outputs)


def _with_forward(module: nn.Module) -> nn.Module:
    """Make a module that TorchScript gives a `forward`: of PyTorch's recurrent layers it makes two, of other names."""
    forward = None if isinstance(module, torch.jit.ScriptModule) else type(module).forward
    if forward is nn.LSTM.forward:
        return _WithLSTM(module)
    return _WithLayer(module) if forward in (nn.RNN.forward, nn.GRU.forward) else module


class _WithLayer(nn.Module):
    """nn.RNN or nn.GRU."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the layer."""
        result: tuple[Tensor, Tensor] = self.layer(input, hx)
        return result


class _WithLSTM(nn.Module):
    """nn.LSTM, which has two states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the layer."""
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.layer(input, hx)
        return result
