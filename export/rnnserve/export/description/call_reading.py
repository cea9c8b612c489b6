"""How a module's forward takes the tensors that are described: its parameters, and what is made of a model's inputs.

A mask is no input: "lengths" is one in its place. Ids that are padded get "lengths" beside them. Constants are none.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.export.description.publication import (
    DYNAMIC,
    InputDescription,
    InputDescriptions,
    Lengths,
    MaskDescription,
    StateTree,
)
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import (
    Argument,
    Call,
    Filled,
    Fixed,
    FlatModule,
    Grouped,
    OfLengths,
    Omissible,
    Slot,
    slots_of,
)
from rnnserve.export.tensors import draw_sample, size_limits
from rnnserve.export.trees import Path
from rnnserve.protos.protocol_words import BATCH

__all__ = ["CallReader"]

_KEYWORD, _ANY = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL
_NONE = inspect.Parameter.empty

_LARGEST = 64  # of the sizes tried, where nothing is said


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """A parameter of forward that is passed."""

    name: str
    value: Any
    default: Any = _NONE
    by_keyword: bool = False

    @property
    def path(self) -> Path:
        """The path of its tensor; tensors of a group have names of their own."""
        return () if isinstance(self.value, Mapping) else (self.name,)


class CallReader:
    """Reads how forward takes its arguments, of a module in evaluation mode, as a `Publication` describes them.

    `inputs` has the descriptions of the model's inputs by name, in order; of a nested state the tree. `defaults` has
    the default values of forward's parameters that are nested states.

    Raises:
        WrongArguments: If forward has no such parameters, or needs others, or something cannot be made.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: InputDescriptions,
        constants: Mapping[str, Any],
        sizes: Mapping[str, tuple[int, int]],
    ) -> None:
        self._module = module
        self._sizes = sizes
        self._parameters = _read_parameters(module, inputs, constants)
        self._described: dict[str, InputDescription | StateTree] = {}
        for parameter in self._parameters:
            if not isinstance(parameter.value, Fixed):
                self._describe(parameter)
        if not self._described:
            raise WrongArguments("inputs describes no tensor; a model takes one at least")
        self.inputs = self._model_inputs()
        self.defaults = {
            each.name: each.default
            for each in self._parameters
            if isinstance(each.value, StateTree) and each.default is not _NONE
        }
        self._kinds = self._kinds_of_groups()

    def call(self, states: Mapping[str, Filled] | None = None) -> Call:
        """Return the call, with nested states in trees of slots. Without these, each has one slot of its name."""
        return self._call(states or {}, self._kinds)

    def _call(self, states: Mapping[str, Filled], kinds: Mapping[str, Any]) -> Call:
        args: list[Argument] = []
        kwargs: dict[str, Argument] = {}
        for parameter in self._parameters:
            kind = kinds.get(parameter.name, dict)
            argument = self._argument(parameter.value, parameter.path, kind, states)
            slots = () if parameter.default is _NONE else slots_of(argument)
            argument = Omissible(argument, slots, parameter.default) if slots else argument
            if parameter.by_keyword:
                kwargs[parameter.name] = argument
            else:
                args.append(argument)
        names = [list(states[name].names.values()) if name in states else [name] for name in self.inputs]
        return Call(tuple(name for each in names for name in each), tuple(args), kwargs)

    def _describe(self, parameter: _Parameter) -> None:
        """Add the tensors of a parameter to those that are described."""
        name, what = parameter.name, parameter.value
        for path, leaf in _leaves(what, parameter.path):
            if not isinstance(leaf, InputDescription) and not (leaf is what and isinstance(leaf, StateTree)):
                raise WrongArguments(
                    f'inputs["{name}"] is a {type(leaf).__name__}; expected Floats(…), Integers(…), Lengths(…), '
                    "Mask(…) or Flags(…). A number that is the same in every request is a constant: "
                    f'constants={{"{name}": …}}'
                )
            tensor = ".".join(path)
            if tensor in self._described:
                raise WrongArguments(f'inputs describes "{tensor}" twice')
            self._described[tensor] = leaf

    def _model_inputs(self) -> dict[str, InputDescription | StateTree]:
        made = {name: what for name, what in self._described.items() if _is_made(what)}
        inputs: dict[str, InputDescription | StateTree] = {
            name: _as_input(what) for name, what in self._described.items() if not isinstance(what, MaskDescription)
        }
        axes = {name: _axis(name, what) for name, what in made.items()}
        for axis in dict.fromkeys(axes.values()):
            if axis in _lengths_of(inputs):
                continue
            name = "lengths" if len(set(axes.values())) == 1 else f"{axis}_lengths"
            if name in inputs:
                raise WrongArguments(
                    f'inputs describes "{name}", and the model needs an input of this name for the lengths of '
                    f'"{axis}": describe it as Lengths("{axis}"), or name it otherwise'
                )
            inputs[name] = Lengths(axis)
        return inputs

    def _argument(self, what: Any, path: Path, kind: Any, states: Mapping[str, Filled]) -> Argument:  # noqa: ANN401
        """Make an argument of what is described at a path; `kind` is a class, if it has several tensors."""
        if isinstance(what, Fixed):
            return what
        if isinstance(what, Mapping):
            parts = {str(key): self._argument(each, (*path, str(key)), dict, states) for key, each in what.items()}
            return Grouped(kind, parts)
        name = ".".join(path)
        return states[name] if name in states else self._tensor(name)

    def _tensor(self, name: str) -> Argument:
        what = self._described[name]
        if not isinstance(what, InputDescription) or not _is_made(what):
            return Slot(name)
        axis = _axis(name, what)
        lengths, (like, at) = _lengths_of(self.inputs)[axis], self._place(name, axis)
        if isinstance(what, MaskDescription):
            values: tuple[Any, Any] = what.inside, what.after
        elif what.padding is not None:
            values = name, what.padding
        else:
            return OfLengths(lengths, like, at)
        axes = tuple("batch" if axis == BATCH else "steps" if size == DYNAMIC else "" for axis, size in what.axes)
        dtype = torch.from_numpy(np.zeros(0, what.dtype)).dtype
        return OfLengths(lengths, like, at, axes, values, dtype)

    def _place(self, name: str, axis: str) -> tuple[str, int]:
        """Return an input that has an axis, and the position of the axis in it."""
        given = {each: what for each, what in self.inputs.items() if isinstance(what, InputDescription)}
        for each, what in given.items():
            names = [dynamic if size == DYNAMIC else "" for dynamic, size in what.axes]
            if axis in names:
                return each, names.index(axis)
        raise WrongArguments(
            f'inputs["{name}"] is made from the lengths of "{axis}", but no other input has this axis; there are '
            f"{', '.join(f'{each} {[axis for axis, _ in what.axes]}' for each, what in given.items())}"
        )

    def _kinds_of_groups(self) -> dict[str, Any]:
        """Find what forward takes for parameters of several tensors: tuples, dicts, or classes.

        Dicts within a dict are as they are described. Of others an annotation says it. Else tuples are tried, and dicts
        where forward does not run with them.
        """
        groups = [
            each.name
            for each in self._parameters
            if isinstance(each.value, Mapping) and not any(isinstance(one, Mapping) for one in each.value.values())
        ]
        annotated = _annotations(self._module) if groups else {}
        kinds: dict[str, Any] = {name: _kind(annotated.get(name)) for name in groups}
        unknown = [name for name, kind in kinds.items() if kind is None]
        as_tuples, as_dicts = ({**kinds, **dict.fromkeys(unknown, kind)} for kind in (tuple, dict))
        return as_dicts if unknown and not self._runs(as_tuples) and self._runs(as_dicts) else as_tuples

    def _runs(self, kinds: Mapping[str, Any]) -> bool:
        """Whether forward runs with tensors that fit their descriptions."""
        tensors = [what.tensor(name) for name, what in self.inputs.items() if isinstance(what, InputDescription)]
        limits = {axis: self._sizes.get(axis, (1, _LARGEST)) for axis in size_limits(tensors)}
        call = self._call({}, kinds)
        drawn = {name: torch.from_numpy(array) for name, array in draw_sample(tensors, limits).items()}
        try:
            with torch.no_grad():
                FlatModule(self._module, call).called(dict.fromkeys(call.inputs) | drawn)
        except Exception:  # noqa: BLE001 - whatever the user's module raises
            return False
        return True


def _is_made(what: InputDescription | StateTree) -> bool:
    return isinstance(what, InputDescription) and (
        isinstance(what, MaskDescription) or what.relative or what.padding is not None
    )


def _as_input(what: InputDescription | StateTree) -> InputDescription | StateTree:
    return dataclasses.replace(what, relative=False) if isinstance(what, InputDescription) and what.relative else what


def _lengths_of(inputs: Mapping[str, InputDescription | StateTree]) -> dict[str, str]:
    """Return the inputs that hold the lengths of axes, by axis."""
    return {
        what.lengths_of: name for name, what in inputs.items() if isinstance(what, InputDescription) and what.lengths_of
    }


def _axis(name: str, what: InputDescription | StateTree) -> str:
    """Return the sequence axis whose lengths an argument is made from."""
    assert isinstance(what, InputDescription)  # noqa: S101 - what is made is described
    if what.lengths_of:
        return what.lengths_of
    axes = [axis for axis, size in what.axes if size == DYNAMIC and axis != BATCH]
    if len(axes) != 1 or BATCH not in dict(what.axes):
        raise WrongArguments(
            f'inputs["{name}"] has a padding id, and the axes {[axis for axis, _ in what.axes]}; expected "{BATCH}" '
            "and one dynamic axis besides, along which rows are padded"
        )
    return axes[0]


def _leaves(described: object, path: Path) -> Iterator[tuple[Path, object]]:
    """List what a description of several tensors holds, and the dicts in it, with the keys to each, in order."""
    if isinstance(described, Mapping):
        for key, value in described.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, described


def _annotations(module: nn.Module) -> dict[str, Any]:
    try:
        return typing.get_type_hints(module.forward)
    except Exception:  # noqa: BLE001 - names in strings that are not there at run time
        return {name: each.annotation for name, each in inspect.signature(module.forward).parameters.items()}


def _kind(annotation: Any) -> type | None:  # noqa: ANN401 - any annotation
    """Return what an annotation says; None where it says nothing of this."""
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


def _read_parameters(module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any]) -> list[_Parameter]:
    known = inspect.signature(module.forward).parameters
    named = {name: each for name, each in known.items() if each.kind not in (_ANY, inspect.Parameter.VAR_KEYWORD)}
    further = _further(module, inputs, constants, list(named))
    given: dict[str, Any] = {
        **inputs,
        **{name: Fixed(_tensor(value), by_user=True) for name, value in constants.items()},
    }
    by_position = [name for name in further if name in inputs] if _takes(known, _ANY) else []
    positional = [name for name, each in named.items() if each.kind is not _KEYWORD]
    last = max((at for at, name in enumerate(positional) if name in given), default=-1)
    last = len(positional) if by_position else last
    found: list[_Parameter] = []
    for name, each in named.items():
        is_keyword = each.kind is _KEYWORD
        if name in given:
            found.append(_Parameter(name, given[name], each.default, is_keyword))
        elif each.default is _NONE:
            raise WrongArguments(
                f'inputs does not describe "{name}", which forward needs: it has no default. If it is the same in '
                f'every request, give it as a constant: constants={{"{name}": …}}'
            )
        elif not is_keyword and positional.index(name) < last:
            found.append(_Parameter(name, Fixed(each.default)))
    return found + [_Parameter(name, given[name], by_keyword=name not in by_position) for name in further]


def _tensor(value: Any) -> Any:  # noqa: ANN401 - a constant
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _further(
    module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any], named: Sequence[str]
) -> list[str]:
    """Return what forward has no parameter of its own for, and takes as `*args` or `**kwargs`."""
    both: list[tuple[str, object]] = [("inputs", inputs), ("constants", constants)]
    for what, given in both:
        if not isinstance(given, Mapping):
            example = 'Floats("batch", "sequence", ("features", 2))' if what == "inputs" else "1.0"
            raise WrongArguments(
                f"{what} is a {type(given).__name__}; expected a dict by the names of forward's parameters: "
                f'{{"input": {example}}}'
            )
    twice = [name for name in constants if name in inputs]
    if twice:
        raise WrongArguments(f'"{twice[0]}" is among inputs and among constants; a parameter is one of them')
    known = inspect.signature(module.forward).parameters
    further = [name for name in (*inputs, *constants) if name not in named]
    takes_keywords = _takes(known, inspect.Parameter.VAR_KEYWORD)
    unknown = further if not _takes(known, _ANY) else [name for name in further if name in constants]
    if unknown and not takes_keywords:
        name = next((each for each in unknown if each in constants), unknown[0])
        where = "constants" if name in constants else "inputs"
        raise WrongArguments(
            f'{where} names "{name}", which is no parameter of {type(module).__name__}.forward; it has '
            f"{', '.join(named) or 'none'}"
            + (_several_in_one(further, [each for each in named if each not in inputs]) if name in inputs else "")
        )
    expected = [*named, *(name for name in further if name in inputs)]
    if list(inputs) != [name for name in expected if name in inputs]:
        raise WrongArguments(f"inputs has the order {list(inputs)}; expected that of forward: {', '.join(expected)}")
    return further


def _takes(known: Mapping[str, inspect.Parameter], kind: Any) -> bool:  # noqa: ANN401 - a kind of parameters
    return any(parameter.kind is kind for parameter in known.values())


def _several_in_one(further: Sequence[str], left: Sequence[str]) -> str:
    """Say how one parameter takes several tensors, where that seems to be meant: more are described than there are."""
    if left[-1:] == ["hx"]:
        return '. The states of nn.LSTM are its parameter hx, a tuple: "hx": {"h_0": Floats(…), "c_0": Floats(…)}'
    if len(further) < 2 or not left:
        return ""
    tensors = ", ".join(f'"{name}": Floats(…)' for name in further[:2])
    return (
        f'. One that takes several tensors, as a tuple or a dict, is described by a dict: "{left[-1]}": {{{tensors}}}'
    )
