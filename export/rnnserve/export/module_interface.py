"""Calling a module with arrays by name, and reading its results by name.

A forward may take nested tuples (an LSTM's `(h_0, c_0)`) and return nested tuples, lists, dicts or dataclasses; models
take and give a flat list of named tensors. The order is that of the forward's parameters and results.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.held_modules import Wrapper
from rnnserve.export.returned_numbers import NoTensor, made_of_a_tensor

__all__ = [
    "Arrays",
    "Constant",
    "FlatOutputs",
    "ModuleInterface",
    "Parameter",
    "flatten_results",
    "is_flat",
    "items_of",
]

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by the names of a model's tensors, in the order of its forward."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """A parameter of forward that always has its default value.

    Attributes:
        value: The default.
    """

    value: Any


Parameter = str | tuple[str, ...] | Constant
"""A parameter of forward: one tensor's name, the names of a tuple of tensors, or a constant."""


@dataclasses.dataclass(frozen=True)
class ModuleInterface:
    """How a module is called.

    Attributes:
        parameters: Those of its forward that are passed, in order.
        outputs: The names of its results, nested ones flattened, in order.
        defaults: The value that stands for a parameter none of whose tensors is given, for those that have one.
    """

    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    defaults: Mapping[Parameter, Any] = dataclasses.field(default_factory=dict, hash=False)

    @classmethod
    def of_script(
        cls, script: torch.jit.ScriptModule, inputs: Sequence[str], outputs: Sequence[str]
    ) -> "ModuleInterface":
        """Read the interface of a script from the types of its forward.

        Args:
            script: The script.
            inputs: The names of all tensors that it takes, in order.
            outputs: The names of all tensors that it gives, in order.

        Raises:
            WrongArguments: If it takes more or fewer tensors.
        """
        forward: Any = script.forward  # typed as a plain callable
        arguments = forward.schema.arguments[1:]
        remaining = list(inputs)
        parameters: list[Parameter] = []
        defaults: dict[Parameter, Any] = {}
        for number, argument in enumerate(arguments):
            kind = argument.type
            kind = kind.getElementType() if kind.kind() == "OptionalType" else kind
            later = {other.name for other in arguments[number + 1 :]}
            is_tensor = kind.kind() == "TensorType"
            # A tensor has its argument's name, and the tensors of a tuple have names of their own.
            left_out = not remaining or (remaining[0] != argument.name if is_tensor else remaining[0] in later)
            if argument.has_default_value() and left_out:
                parameters.append(Constant(argument.default_value))
                continue
            if is_tensor:
                parameters.append(remaining.pop(0) if remaining else "")
            elif kind.kind() == "TupleType":
                size = len(kind.elements())
                parameters.append(tuple([*remaining, *[""] * size][:size]))
                del remaining[:size]
            else:
                parameters.append(Constant(argument.default_value))
                continue
            if argument.has_default_value():
                defaults[parameters[-1]] = argument.default_value
        found = [name for parameter in parameters for name in _names(parameter)]
        if found != list(inputs):
            raise WrongArguments(f"its forward takes {len(found)} tensors; expected {len(inputs)}: {', '.join(inputs)}")
        return cls(tuple(parameters), tuple(outputs), defaults)

    @property
    def inputs(self) -> list[str]:
        """The names of all tensors that are passed, in order."""
        return [name for parameter in self.parameters for name in _names(parameter)]

    def arguments(self, arrays: Mapping[str, npt.NDArray[Any]], *, double: bool = False) -> tuple[Any, ...]:
        """Make the arguments of a call.

        Args:
            arrays: Inputs by name. A parameter with a default may be left out, with all of its tensors.
            double: Whether floats become float64.
        """

        def tensor(name: str) -> Tensor:
            made = torch.from_numpy(np.array(arrays[name], order="C"))  # a copy: a forward may write to its input
            return made.double() if double and made.is_floating_point() else made

        def argument(parameter: Parameter) -> Any:  # noqa: ANN401 - what the user's forward takes
            if isinstance(parameter, Constant):
                return parameter.value
            if parameter in self.defaults and not any(name in arrays for name in _names(parameter)):
                return self.defaults[parameter]
            if isinstance(parameter, str):
                return tensor(parameter)
            return tuple(tensor(name) for name in parameter)

        return tuple(argument(parameter) for parameter in self.parameters)

    def call(self, module: nn.Module, arrays: Mapping[str, npt.NDArray[Any]], *, double: bool = False) -> Arrays:
        """Run a module, eager or scripted, without gradients.

        Args:
            module: The module.
            arrays: Inputs by name, of the model's shapes and dtypes. A parameter with a default may be left out, with
                all of its tensors.
            double: Whether floats are passed as float64, to a module in float64.

        Returns:
            Every result by name.

        Raises:
            WrongArguments: If it gives another number of results.
        """
        arguments = self.arguments(arrays, double=double)
        with torch.no_grad():
            try:
                results = flatten_results(module(*arguments))
            except NoTensor as error:
                raise made_of_a_tensor(error, lambda: module(*arguments)) from None
        if len(results) != len(self.outputs):
            raise WrongArguments(
                f"outputs names {len(self.outputs)} tensors, {list(self.outputs)}, but forward gives {len(results)}, "
                f"of shapes {[list(result.shape) for result in results]}; name each, nested ones in order"
            )
        return {name: result.detach().numpy() for name, result in zip(self.outputs, results, strict=True)}


class FlatOutputs(Wrapper):
    """A module whose forward gives a plain tuple, for tools that take no dicts and dataclasses."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - what the module takes
        """Run the module and flatten its results."""
        return tuple(flatten_results(self.module(*args)))


def flatten_results(result: object) -> list[Tensor]:
    """List the tensors in what a forward returned: nested tuples, lists, dicts and dataclasses in their order.

    Raises:
        WrongArguments: If there is anything else in it.
    """
    return list(_flattened(result))


def items_of(value: Any) -> Mapping[Any, Any] | None:  # noqa: ANN401 - whatever a forward takes or returns
    """Give the items of a dict, or of what has keys and items as one: tianshou's Batch, a TensorDict; else None."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Tensor | nn.Module | type) or not hasattr(value, "__getitem__"):
        return None
    keys = getattr(value, "keys", None)
    return {key: value[key] for key in keys()} if callable(keys) else None


def is_flat(result: object) -> bool:
    """Whether what a forward returned is a tensor, or a tuple of tensors and tuples."""
    if isinstance(result, tuple) and not hasattr(result, "_fields"):
        return all(is_flat(part) for part in result)
    return isinstance(result, Tensor)


def _flattened(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, torch.nn.utils.rnn.PackedSequence):
        raise WrongArguments("forward returns a PackedSequence; return pad_packed_sequence of it instead")
    elif result is None:
        return
    elif (items := items_of(result)) is not None:
        for part in items.values():
            yield from _flattened(part)
    elif isinstance(result, tuple | list):
        for part in result:
            yield from _flattened(part)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        for field in dataclasses.fields(result):
            yield from _flattened(getattr(result, field.name))
    else:
        raise NoTensor(result)


def _names(parameter: Parameter) -> tuple[str, ...]:
    if isinstance(parameter, Constant):
        return ()
    return (parameter,) if isinstance(parameter, str) else parameter
