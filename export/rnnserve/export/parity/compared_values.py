"""The values among which a module chooses a place: argmax, max, sort, cummax; in eager, in float64 and in ONNX.

Of values that are equal but for rounding, as the states that a recurrent layer converges to, no two implementations
choose the same one. Whether a place is right is then a question of the values: they have to be as near to float64 as
those of any output, and the place has to be the one that PyTorch's own operator takes of them, ties included.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.parity.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import Reference, moved_inputs
from rnnserve.export.trees import flatten_results

__all__ = ["Choice", "ComparedValues", "EagerChoices"]

_ATEN = torch.ops.aten
_CHOOSING = {
    **dict.fromkeys((_ATEN.argmax.default, _ATEN.argmin.default), 0),
    **dict.fromkeys((_ATEN.max.dim, _ATEN.min.dim, _ATEN.sort.stable, _ATEN.cummax.default, _ATEN.cummin.default), 1),
}
"""Operators whose choice among equal values PyTorch defines, and which of their results is the place."""

_RECURRENT = frozenset({torch.gru, torch.lstm, torch.rnn_relu, torch.rnn_tanh})

_PASSES = frozenset({"Identity", "Squeeze", "Unsqueeze"})  # of a place, the same place


@dataclasses.dataclass(frozen=True)
class Choice:
    """One call of an operator that chooses.

    Attributes:
        values: Among which it chose, any shape.
        choose: Gives its places of other values of that shape.
        places: What it chose.
        axis: Along which it chose; None for all values in their order.
    """

    values: Tensor
    choose: Callable[[Tensor], Tensor]
    places: Tensor
    axis: int | None

    def chooses(self, values: npt.NDArray[Any], places: npt.NDArray[Any]) -> bool:
        """Whether places are those that the operator takes of values, which have the shape of eager's."""
        if tuple(self.values.shape) != values.shape:
            return False
        chosen = self.choose(torch.from_numpy(np.ascontiguousarray(values))).numpy()
        return chosen.size == places.size and bool(np.array_equal(chosen.reshape(places.shape), places))

    def taken(self, values: npt.NDArray[Any], places: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take the values at places."""
        places = places.reshape(tuple(self.places.shape))
        taken: npt.NDArray[Any]
        if self.axis is None:
            taken = values.reshape(-1)[places]
        else:
            kept = places if places.ndim == values.ndim else np.expand_dims(places, self.axis)
            taken = np.take_along_axis(values, kept, self.axis)
        return taken


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no type for its subclassing
    """Keeps every call of an operator that chooses among floats."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor for this
        self.choices: list[Choice] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator."""
        result = func(*args, **(kwargs or {}))
        if func in _CHOOSING and args and args[0].is_floating_point():
            at, rest, more = _CHOOSING[func], args[1:], dict(kwargs or {})

            def choose(values: Tensor) -> Tensor:
                found = func(values, *rest, **more)
                places: Tensor = found[at] if isinstance(found, tuple) else found
                return places

            # What is chosen from may be changed in place afterwards.
            places = result[at] if isinstance(result, tuple) else result
            names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001 - torch's own way to name them
            axis = {**dict(zip(names, args, strict=False)), **more}.get("dim", -1 if "sort" in str(func) else None)
            self.choices.append(Choice(args[0].detach().clone(), choose, places, axis))
        return result


class _UnwatchedRecurrence(TorchFunctionMode):
    """Runs PyTorch's recurrent functions without the recorder: each is hundreds of operators, and chooses no place."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run a function."""
        if func in _RECURRENT:
            with torch._C._DisableTorchDispatch():  # noqa: SLF001 - it has no public name
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class EagerChoices:
    """The choices that are outputs of a module, as they are."""

    def __init__(self, reference: Reference) -> None:
        """Take the module that chooses."""
        self._reference = reference

    def eager(self, inputs: Arrays) -> dict[str, Choice]:
        """Run the module; give by output the choice that it is."""
        return _choices(self._reference.module, self._reference.interface, inputs)

    def exact(self, inputs: Arrays) -> dict[str, Choice]:
        """The same in float64; eager's where the module does not run in float64."""
        double = self._reference.double
        if double is None:
            return self.eager(inputs)
        return _choices(double, self._reference.interface, inputs, double=True)

    def moved(self, inputs: Arrays) -> Iterator[dict[str, Choice]]:
        """Run the module on inputs moved by an ulp, eight times."""
        yield from map(self.eager, moved_inputs(inputs))


def _choices(
    module: nn.Module, interface: ModuleInterface, inputs: Arrays, *, double: bool = False
) -> dict[str, Choice]:
    recorder = _Recorder()
    with torch.no_grad(), recorder, _UnwatchedRecurrence():
        results = flatten_results(module(*interface.arguments(inputs, double=double)))
    found = {}
    for name, result in zip(interface.outputs, results, strict=True):
        for choice in recorder.choices:
            if _is_same(result, choice.places):
                found[name] = choice
    return found


def _is_same(result: Tensor, places: Tensor) -> bool:
    """Whether a result holds the places themselves, in their order, perhaps with axes of size 1 more or less."""
    if result.data_ptr() != places.data_ptr() or result.numel() != places.numel():
        return False
    whole = result.is_contiguous() and places.is_contiguous()
    return whole or (result.shape == places.shape and result.stride() == places.stride())


class ComparedValues:
    """The values from which an ONNX model chooses, beside its outputs."""

    def __init__(self, model: bytes, **more: Any) -> None:  # noqa: ANN401 - of `OnnxRunner`
        """Look for outputs that are places.

        Args:
            model: The bytes of an ONNX file.
            more: Arguments of `OnnxRunner`, by which it is run.
        """
        proto = onnx.load_model_from_string(model)
        producers = {name: node for node in proto.graph.node for name in node.output}
        self._values = {
            output.name: source
            for output in proto.graph.output
            if (source := _source(output.name, producers, {value.name for value in proto.graph.input})) is not None
        }
        known = {output.name for output in proto.graph.output}
        for name in sorted(set(self._values.values()) - known):
            proto.graph.output.add(name=name)
        self._runner = OnnxRunner(proto.SerializeToString(), **more) if self._values else None

    def __call__(self, inputs: Arrays) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Run the model; give by output its places, and the values among which they were chosen."""
        if self._runner is None:
            return {}
        found = self._runner(inputs)
        return {name: (found[name], found[source]) for name, source in self._values.items()}


def _source(name: str, producers: Mapping[str, onnx.NodeProto], inputs: set[str]) -> str | None:
    """Name the values of which an output is a place; None where it is none, or they are an input."""
    node = producers.get(name)
    while node is not None and node.op_type in _PASSES:
        name, node = node.input[0], producers.get(node.input[0])
    if node is None:
        return None
    if node.op_type in ("ArgMax", "ArgMin") or (node.op_type == "TopK" and name == node.output[1]):
        source = node.input[0]
    elif node.op_type == "Scan" and name in node.output[2:]:
        source = node.input[2]  # after its two states, as `operators.extrema` makes it
    else:
        return None
    return None if source in inputs else source
