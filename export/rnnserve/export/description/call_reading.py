"""Find out how a module's forward takes the described tensors, and which inputs the model gets.

The model has a "lengths" input instead of a mask, and an additional "lengths" input if ids are padded. Constants don't
become inputs.
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
    Publication,
    StateTree,
)
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import Call, Fixed, FlatModule, OfLengths, Omissible, Slot, slots_in
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.tensors import draw_sample, size_limits
from rnnserve.export.trees import Path, Tree, leaves
from rnnserve.protos.protocol_words import BATCH

_NONE = inspect.Parameter.empty

_LARGEST = 64  # largest size in trial runs, if the description doesn't limit it


class _Parameter(typing.NamedTuple):
    """A parameter to pass to forward."""

    name: str
    value: Any
    default: Any = _NONE
    by_keyword: bool = False

    @property
    def path(self) -> Path:
        """The path of the parameter's tensor. The tensors of a group have separate names."""
        return () if isinstance(self.value, Mapping) else (self.name,)


class CallReader:
    """Finds out how forward takes its arguments. `inputs` has the descriptions of the model's inputs, in order."""

    def __init__(self, module: nn.Module, publication: Publication) -> None:
        self._module = module
        self._sizes = publication.sizes
        self._parameters = _read_parameters(module, publication.inputs, publication.constants)
        self._described: dict[str, InputDescription | StateTree] = {}
        for parameter in self._parameters:
            if not isinstance(parameter.value, Fixed):
                self._describe(parameter)
        if not self._described:
            raise WrongArguments("inputs describes no tensor; expected at least one")
        self.inputs = self._model_inputs()
        self._kinds = self._kinds_of_groups()

    def call(self, states: Mapping[str, Tree] | None = None) -> Call:
        """Return the call, with trees of slots for nested states. A state without a tree has one slot with its name."""
        return self._call(states or {}, self._kinds)

    def _call(self, states: Mapping[str, Tree], kinds: Mapping[str, Any]) -> Call:
        args: list[Tree] = []
        kwargs: dict[str, Tree] = {}
        for each in self._parameters:
            argument = self._argument(each.value, each.path, kinds.get(each.name, dict), states)
            if each.default is not _NONE and not any(isinstance(leaf, OfLengths) for _, leaf in leaves(argument)):
                slots = tuple(slots_in(argument).values())
                argument = Omissible(argument, slots, each.default) if slots else argument
            if each.by_keyword:
                kwargs[each.name] = argument
            else:
                args.append(argument)
        names = [list(slots_in(states[name]).values()) if name in states else [name] for name in self.inputs]
        return Call(tuple(name for each in names for name in each), tuple(args), kwargs)

    def _describe(self, parameter: _Parameter) -> None:
        """Add the tensors of a parameter to the described tensors."""
        name = parameter.name
        for path, leaf in _leaves(parameter.value, parameter.path):
            is_state = leaf is parameter.value and isinstance(leaf, StateTree)
            if not isinstance(leaf, InputDescription) and not is_state:
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
        inputs = {name: what for name, what in self._described.items() if not isinstance(what, MaskDescription)}
        for name, what in inputs.items():
            if isinstance(what, InputDescription) and what.relative:
                inputs[name] = dataclasses.replace(what, relative=False)
        made = {name: what for name, what in self._described.items() if _is_made(what)}
        axes = dict.fromkeys(_axis(name, what) for name, what in made.items())
        for axis in axes:
            if axis in _lengths_of(inputs):
                continue
            name = "lengths" if len(axes) == 1 else f"{axis}_lengths"
            if name in inputs:
                raise WrongArguments(
                    f'inputs describes "{name}", but the model needs an input of this name for the lengths of '
                    f'"{axis}": describe it as Lengths("{axis}"), or give it another name'
                )
            inputs[name] = Lengths(axis)
        return inputs

    def _argument(self, what: Any, path: Path, kind: Any, states: Mapping[str, Tree]) -> Tree:  # noqa: ANN401
        """Make the argument for a description at a path. `kind` is the class of a group of tensors."""
        if isinstance(what, Fixed):
            return what
        if isinstance(what, Mapping):
            parts = {str(key): self._argument(each, (*path, str(key)), dict, states) for key, each in what.items()}
            try:
                return tuple(parts.values()) if kind is tuple else kind(**parts)
            except Exception as error:  # the class is the user's own
                raise WrongArguments(f"{kind.__name__} does not take {', '.join(parts)}: {error}") from error
        name = ".".join(path)
        if name in states:
            return states[name]
        return self._made(name, what) if _is_made(what) else Slot(name)

    def _made(self, name: str, what: InputDescription) -> OfLengths:
        axis = _axis(name, what)
        lengths, (like, at) = _lengths_of(self.inputs)[axis], self._place(name, axis)
        if isinstance(what, MaskDescription):
            values: tuple[Any, Any] = what.inside, what.after
        elif what.padding is not None:
            values = name, what.padding
        else:
            return OfLengths(lengths, like, at)
        axes = tuple("batch" if axis == BATCH else "steps" if size == DYNAMIC else "" for axis, size in what.axes)
        return OfLengths(lengths, like, at, axes, values, torch.from_numpy(np.zeros(0, what.dtype)).dtype)

    def _place(self, name: str, axis: str) -> tuple[str, int]:
        """Return an input that has an axis, and the position of the axis in it."""
        given = {each: what for each, what in self.inputs.items() if isinstance(what, InputDescription)}
        for each, what in given.items():
            if (axis, DYNAMIC) in what.axes:
                return each, what.axes.index((axis, DYNAMIC))
        raise WrongArguments(
            f'inputs["{name}"] is made from the lengths of "{axis}", but no other input has this axis; the other '
            "inputs have "
            f"{', '.join(f'{each} {[axis for axis, _ in what.axes]}' for each, what in given.items())}"
        )

    def _kinds_of_groups(self) -> dict[str, Any]:
        """Find which container forward takes for each parameter with several tensors: a tuple, a dict or a class.

        A dict that contains dicts is passed as described. For other groups, an annotation decides. Without an
        annotation, the group is passed as a tuple, or as a dict if forward doesn't run with tuples.
        """
        groups = {each.name: each.value for each in self._parameters if isinstance(each.value, Mapping)}
        flat = [name for name, group in groups.items() if not any(isinstance(one, Mapping) for one in group.values())]
        kinds = {name: _kind(self._module, name) for name in flat}
        as_tuples, as_dicts = ({name: found or kind for name, found in kinds.items()} for kind in (tuple, dict))
        return as_dicts if None in kinds.values() and not self._runs(as_tuples) and self._runs(as_dicts) else as_tuples

    def _runs(self, kinds: Mapping[str, Any]) -> bool:
        """Whether forward runs with tensors that match their descriptions."""
        tensors = [what.tensor(name) for name, what in self.inputs.items() if isinstance(what, InputDescription)]
        limits = {axis: self._sizes.get(axis, (1, _LARGEST)) for axis in size_limits(tensors)}
        call = self._call({}, kinds)
        drawn = {name: torch.from_numpy(array) for name, array in draw_sample(tensors, limits).items()}
        try:
            with left_as_they_were(self._module), torch.no_grad():
                FlatModule(self._module, call).called(dict.fromkeys(call.inputs) | drawn)
        except Exception:  # noqa: BLE001 - whatever the user's module raises
            return False
        return True


def _is_made(what: object) -> bool:
    return isinstance(what, InputDescription) and (
        isinstance(what, MaskDescription) or what.relative or what.padding is not None
    )


def _lengths_of(inputs: Mapping[str, InputDescription | StateTree]) -> dict[str, str]:
    """Return the inputs that hold the lengths of axes, by axis."""
    return {
        what.lengths_of: name for name, what in inputs.items() if isinstance(what, InputDescription) and what.lengths_of
    }


def _axis(name: str, what: Any) -> str:  # noqa: ANN401 - the description of a derived argument
    """Return the sequence axis whose lengths an argument is made from."""
    if what.lengths_of:
        return str(what.lengths_of)
    axes = [axis for axis, size in what.axes if size == DYNAMIC and axis != BATCH]
    if len(axes) != 1 or BATCH not in dict(what.axes):
        raise WrongArguments(
            f'inputs["{name}"] has a padding id and the axes {[axis for axis, _ in what.axes]}; expected "{BATCH}" '
            "and one dynamic axis, along which rows are padded"
        )
    return str(axes[0])


def _leaves(described: object, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(described, Mapping):
        for key, value in described.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield path, described


def _kind(module: nn.Module, parameter: str) -> type | None:
    """Return the container class that the annotation of a parameter names. None if it names none or several."""
    try:
        annotation = typing.get_type_hints(module.forward)[parameter]
    except Exception:  # noqa: BLE001 - there is none, or it names what doesn't exist at run time
        return None
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds: list[type] = []
    for each in typing.get_args(annotation) if is_union else (annotation,):
        origin = typing.get_origin(each) or each
        if typing.is_typeddict(origin) or origin is Mapping:
            kinds.append(dict)
        elif isinstance(origin, type) and (dataclasses.is_dataclass(origin) or issubclass(origin, tuple | dict)):
            kinds.append(origin)
    return kinds[0] if len(kinds) == 1 else None


def _read_parameters(module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any]) -> list[_Parameter]:
    known = inspect.signature(module.forward).parameters
    kinds = {each.kind for each in known.values()}
    named = {name: each for name, each in known.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    _check_names(module, inputs, constants, list(named), kinds)
    given = {**inputs, **{name: _constant(value) for name, value in constants.items()}}
    by_position = [name for name in inputs if name not in named] if inspect.Parameter.VAR_POSITIONAL in kinds else []
    positional = [name for name, each in named.items() if each.kind is not each.KEYWORD_ONLY]
    last = max((at for at, name in enumerate(positional) if name in given), default=0)
    last = len(positional) if by_position else last
    found: list[_Parameter] = []
    for name, each in named.items():
        if name in given:
            found.append(_Parameter(name, given[name], each.default, name not in positional))
        elif each.default is _NONE:
            raise WrongArguments(
                f'inputs does not describe "{name}", which forward needs: it has no default. If it is the same in '
                f'every request, give it as a constant: constants={{"{name}": …}}'
            )
        elif name in positional[:last]:
            found.append(_Parameter(name, Fixed(each.default)))
    further = [name for name in given if name not in named]
    return found + [_Parameter(name, given[name], by_keyword=name not in by_position) for name in further]


def _constant(value: Any) -> Fixed:  # noqa: ANN401 - whatever forward takes
    return Fixed(torch.from_numpy(value) if isinstance(value, np.ndarray) else value, by_user=True)


def _check_names(
    module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any], named: Sequence[str], kinds: set[Any]
) -> None:
    """Check that forward accepts the names of the described parameters, and that inputs are in its order."""
    both: list[tuple[str, Any]] = [("inputs", inputs), ("constants", constants)]
    for what, given in both:
        if not isinstance(given, Mapping):
            example = 'Floats("batch", "sequence", ("features", 2))' if what == "inputs" else "1.0"
            raise WrongArguments(
                f"{what} is a {type(given).__name__}; expected a dict by the names of forward's parameters: "
                f'{{"input": {example}}}'
            )
        unknown = next((name for name in given if name not in named), None)
        takes_more = {inspect.Parameter.VAR_KEYWORD, *([inspect.Parameter.VAR_POSITIONAL] if given is inputs else [])}
        if unknown is not None and not takes_more & kinds:
            raise WrongArguments(
                f'{what} names "{unknown}", which is not a parameter of {type(module).__name__}.forward; it has '
                f"{', '.join(named) or 'none'}{_several_in_one(given, named)}"
            )
    twice = [name for name in constants if name in inputs]
    if twice:
        raise WrongArguments(f'"{twice[0]}" is in both inputs and constants; name each parameter in only one of them')
    expected = [*named, *(name for name in inputs if name not in named)]
    if list(inputs) != [name for name in expected if name in inputs]:
        raise WrongArguments(f"inputs has the order {list(inputs)}; expected that of forward: {', '.join(expected)}")


def _several_in_one(given: Mapping[str, Any], named: Sequence[str]) -> str:
    """Return a hint about tuple or dict parameters, if more tensors are described than forward has parameters."""
    further, left = ([name for name in one if name not in other] for one, other in ((given, named), (named, given)))
    if left[-1:] == ["hx"]:
        return '. The states of nn.LSTM are its parameter hx, a tuple: "hx": {"h_0": Floats(…), "c_0": Floats(…)}'
    if len(further) < 2 or not left:
        return ""
    tensors = ", ".join(f'"{name}": Floats(…)' for name in further[:2])
    return f'. A parameter that takes several tensors is described by a dict: "{left[-1]}": {{{tensors}}}'
