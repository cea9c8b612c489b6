"""How a module's forward is called: which of its parameters are tensors of the model, and how they reach it.

Everything else here passes arguments by position. Where a forward takes some by keyword only, or as `*args`, a wrapper
passes them on. PyTorch's own recurrent layers get one, too: TorchScript has no `forward` of a bare `nn.GRU`.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from rnnserve.export.description.input_descriptions import InputDescription
from rnnserve.export.description.nested_groups import NestedDict, leaves_of
from rnnserve.export.description.publication import InputDescriptions
from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import Wrapper
from rnnserve.export.module_interface import Constant, Parameter

__all__ = ["ForwardParameters", "read_parameters"]

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclasses.dataclass(frozen=True)
class ForwardParameters:
    """How a module is called.

    Attributes:
        module: What takes the parameters by position: the module itself, or a wrapper around it.
        parameters: Those that are passed, in order.
        described: The description of every tensor among them, by name, in order.
        defaults: The default value of each parameter that is passed and has one.
        names: Forward's own names of the parameters, in order; of those that it has none for, empty.
        nested: What makes the dicts within dicts that forward takes for a parameter, for those that are described so.
    """

    module: nn.Module
    parameters: tuple[Parameter, ...]
    described: dict[str, InputDescription]
    defaults: dict[Parameter, Any]
    names: tuple[str, ...] = ()
    nested: Mapping[Parameter, NestedDict] = dataclasses.field(default_factory=dict)


def read_parameters(
    module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any] = MappingProxyType({})
) -> ForwardParameters:
    """Read how a module's forward takes the tensors that are described.

    Args:
        module: The module: not compiled, not wrapped.
        inputs: Descriptions by forward's parameters, in its order, as in a `Publication`.
        constants: Values of other parameters of forward, the same in every request.

    Raises:
        WrongArguments: If forward has no such parameters, or needs others.
    """
    known = inspect.signature(module.forward).parameters
    by_position = [name for name, parameter in known.items() if parameter.kind in _BY_POSITION]
    by_keyword = [name for name, parameter in known.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    further = _further(module, inputs, constants, [*by_position, *by_keyword])
    given = {*inputs, *constants}
    further_by_position = any(name in inputs for name in further) and _takes(known, inspect.Parameter.VAR_POSITIONAL)
    last = max((number for number, name in enumerate(by_position) if name in given), default=-1)
    if further_by_position:
        last = len(by_position)
    described: dict[str, InputDescription] = {}
    parameters: dict[str, Parameter] = {}
    defaults: dict[Parameter, Any] = {}
    for number, name in enumerate((*by_position, *by_keyword)):
        default = known[name].default
        if name in constants:
            parameters[name] = Constant(constants[name])
        elif name in inputs:
            parameters[name] = _describe(name, inputs[name], described)
            if default is not inspect.Parameter.empty:
                defaults[parameters[name]] = default
        elif default is inspect.Parameter.empty:
            raise WrongArguments(
                f'inputs does not describe "{name}", which forward needs: it has no default. If it is the same in '
                f'every request, give it as a constant: constants={{"{name}": …}}'
            )
        elif number < last:
            parameters[name] = Constant(default)
    passed_by_position = len(parameters) - sum(name in given for name in by_keyword)
    passed_by_keyword = [name for name in by_keyword if name in given]
    for name in further:
        is_constant = name in constants
        parameters[name] = Constant(constants[name]) if is_constant else _describe(name, inputs[name], described)
    if not further_by_position:
        passed_by_keyword += further
    elif passed_by_keyword or any(name in constants for name in further):
        raise WrongArguments(
            f"inputs and constants give {', '.join(passed_by_keyword or constants)}, by keyword, after "
            f"{', '.join(further)} of *args; write a module whose forward names its parameters, and calls this one"
        )
    if not described:
        raise WrongArguments("inputs describes no tensor; a model takes one at least")
    called = _by_position(module, passed_by_position, passed_by_keyword)
    nested = {parameters[name]: made for name, what in inputs.items() if (made := _nested(what)) is not None}
    return ForwardParameters(called, tuple(parameters.values()), described, defaults, tuple(parameters), nested)


def _further(
    module: nn.Module, inputs: InputDescriptions, constants: Mapping[str, Any], named: Sequence[str]
) -> list[str]:
    """Give what forward has no parameter of its own for, and takes as `*args` or `**kwargs`.

    Args:
        module: The module.
        inputs: Descriptions, checked to be in forward's order.
        constants: Values, in any order.
        named: The parameters of forward that have names, in its order.
    """
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
    by_name_only = [name for name in further if name in constants]
    if (further and not _takes(known, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)) or (
        by_name_only and not _takes(known, inspect.Parameter.VAR_KEYWORD)
    ):
        name = (by_name_only or further)[0]
        if name in constants:
            raise WrongArguments(_unknown(module, "constants", name, named))
        raise WrongArguments(
            _unknown(module, "inputs", name, named)
            + _several_in_one(further, [one for one in named if one not in inputs])
        )
    expected = [*named, *(name for name in further if name in inputs)]
    if list(inputs) != [name for name in expected if name in inputs]:
        raise WrongArguments(f"inputs has the order {list(inputs)}; expected that of forward: {', '.join(expected)}")
    return further


def _takes(known: Mapping[str, inspect.Parameter], *kinds: Any) -> bool:  # noqa: ANN401 - kinds of parameters
    return any(parameter.kind in kinds for parameter in known.values())


def _unknown(module: nn.Module, where: str, name: str, known: Sequence[str]) -> str:
    return (
        f'{where} names "{name}", which is no parameter of {type(module).__name__}.forward; it has '
        f"{', '.join(known) or 'none'}"
    )


def _several_in_one(further: Sequence[str], left: Sequence[str]) -> str:
    """Say how one parameter takes several tensors, where that seems to be meant: more are described than there are.

    Args:
        further: Names of what is described, and is no parameter.
        left: Names of the parameters that are not described.
    """
    if left[-1:] == ["hx"]:
        return '. The states of nn.LSTM are its parameter hx, a tuple: "hx": {"h_0": Floats(…), "c_0": Floats(…)}'
    if len(further) < 2 or not left:
        return ""
    tensors = ", ".join(f'"{name}": Floats(…)' for name in further[:2])
    return (
        f'. One that takes several tensors, as a tuple or a dict, is described by a dict: "{left[-1]}": {{{tensors}}}'
    )


def _describe(name: str, what: object, described: dict[str, InputDescription]) -> Parameter:
    """Add the tensors of a parameter to `described`, and give the parameter."""
    entries = {".".join(path): leaf for path, leaf in leaves_of(what if isinstance(what, Mapping) else {name: what})}
    for tensor, description in entries.items():
        if not isinstance(description, InputDescription):
            raise WrongArguments(
                f'inputs["{name}"] is a {type(description).__name__}; expected Floats(…), Integers(…), Lengths(…), '
                "Mask(…) or Flags(…). A number that is the same in every request is a constant: "
                f'constants={{"{name}": …}}'
            )
        if tensor in described:
            raise WrongArguments(f'inputs describes "{tensor}" twice')
        described[tensor] = description
    return tuple(entries) if isinstance(what, Mapping) else name


def _nested(what: object) -> NestedDict | None:
    """Give what makes the dicts in a dict that describes a parameter; None where there is none."""
    if not isinstance(what, Mapping) or not any(isinstance(each, Mapping) for each in what.values()):
        return None
    return NestedDict(tuple(path for path, _ in leaves_of(what)))


def _by_position(module: nn.Module, count: int, keywords: Sequence[str]) -> nn.Module:
    """Give what takes all arguments by position, the keywords' last."""
    if keywords:
        return _WithKeywords(module, count, keywords)
    forward = type(module).forward
    if forward is nn.LSTM.forward:
        return _WithLSTM(module)
    if forward in (nn.RNN.forward, nn.GRU.forward):
        return _WithLayer(module)
    return module


class _WithKeywords(Wrapper):
    """A module that takes its arguments by position, and passes the last ones on by keyword."""

    def __init__(self, module: nn.Module, count: int, keywords: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self._count = count
        self._keywords = tuple(keywords)
        self.eval()

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - what the module takes and gives
        """Run the module."""
        return self.module(*args[: self._count], **dict(zip(self._keywords, args[self._count :], strict=True)))


class _WithLayer(nn.Module):
    """nn.RNN or nn.GRU in a module that TorchScript gives a `forward`: it has two, of other names."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the layer."""
        result: tuple[Tensor, Tensor] = self.layer(input, hx)
        return result


class _WithLSTM(nn.Module):
    """The same of nn.LSTM, which has two states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the layer."""
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.layer(input, hx)
        return result
