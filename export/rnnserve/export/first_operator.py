"""The first operator of a module whose result an ONNX graph does not have: for messages about files that differ."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.first_non_finite import Origin, origin_of, paths_of
from rnnserve.export.held_modules import users_module
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import OnnxProcess, OnnxRunner
from rnnserve.export.parity.tolerances import OTHER_FORMULA
from rnnserve.export.torch_adapter import TorchDispatchMode, schema_of, tree_leaves
from rnnserve.export.trees import flatten_results
from rnnserve.protos.differences import scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["differing_operator"]

_Array = npt.NDArray[Any]
_Key = tuple[int, int]  # of a tensor: its id, and how often its storage had been written to

_SCALES = (1.0, 0.0, 1e-3, 30.0, 1000.0)  # of floats: what a proof draws, in short
_ROWS, _STEPS = 3, 6
_NAMED = (nn.RNNBase, nn.RNNCellBase)  # whose operators are named as the module


@dataclasses.dataclass(frozen=True)
class _Call:
    """One operator that has run, on values that depend on the module's inputs.

    Attributes:
        origin: Its name and line.
        inputs: Keys of the tensors that it took.
        outputs: Keys and copies of the tensors that it returned or wrote to.
    """

    origin: Origin
    inputs: Set[_Key]
    outputs: Mapping[_Key, _Array]


def differing_operator(model: DescribedModel, onnx_model: bytes, process: OnnxProcess | None = None) -> str:
    """Name the first operator of a module whose result an ONNX graph does not have: a sentence without full stop.

    Exporters cut computations into different nodes. So an operator is named only if a wrong output is computed from
    its result, and nothing that is computed from it on the way is in the graph. Tensors count as the same if they have
    the same numbers in any order, because layouts differ. Empty if the outputs do not differ on a few inputs of each
    kind, or no operator can be named. A process is for graphs of unknown origin.
    """
    with contextlib.suppress(Exception):  # the proof itself reports what raises
        graph = _OpenedGraph(onnx_model, process)
        for arrays in _drawn(model):
            with contextlib.suppress(Exception), evaluating(model.module):
                origin = _first_differing(model, arrays, *graph.run(arrays))
                if origin is not None:
                    return f"the first operator whose result differs is {_named(origin, model.module)}"
    return ""


class _OpenedGraph:
    """An ONNX graph with the result of every node."""

    def __init__(self, onnx_model: bytes, process: OnnxProcess | None) -> None:
        opened = onnx.load_model_from_string(onnx_model)
        self._outputs = [value.name for value in opened.graph.output]
        results = {name for node in opened.graph.node for name in node.output if name}
        opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(results - {*self._outputs}))
        self._runner = OnnxRunner(opened.SerializeToString(), optimized=False, process=process)

    def run(self, arrays: Arrays) -> tuple[Arrays, list[_Array]]:
        """Give the outputs by name, and all values that the graph takes or computes."""
        found = self._runner(arrays)
        values = [*arrays.values(), *(array for array in found.values() if isinstance(array, np.ndarray))]
        return {name: found[name] for name in self._outputs}, values


def _drawn(model: DescribedModel) -> Iterator[Arrays]:
    sizes = {axis: min(max(_ROWS if axis == BATCH else _STEPS, low), high) for axis, (low, high) in model.sizes.items()}
    for number, factor in enumerate(_SCALES):
        arrays = draw_inputs(model.inputs, np.random.default_rng(number), sizes, ragged=number > 0)
        yield {
            name: (array * factor).astype(array.dtype) if array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }


def _first_differing(model: DescribedModel, arrays: Arrays, found: Arrays, values: Sequence[_Array]) -> Origin | None:
    """Run the module, and find the first operator that only leads to wrong outputs."""
    arguments = model.interface.arguments(arrays)
    recorder = _Recorder(_tensors(arguments))
    with torch.no_grad(), paths_of(model.module, recorder.path), recorder:
        results = flatten_results(model.module(*arguments))
    wrong = {
        recorder.key(result)
        for name, result in zip(model.interface.outputs, results, strict=True)
        if name in found and not _is_same(found[name], result.numpy())
    }
    known = [_in_order(value) for value in values if _counts(value)]
    right = {key for call in recorder.calls for key, array in call.outputs.items() if _is_among(array, known)}
    suspects = _ancestors(recorder.calls, wrong) - _ancestors(recorder.calls, right)
    for call in recorder.calls:
        if any(key in suspects and _counts(array) for key, array in call.outputs.items()):
            return call.origin
    return None


def _is_same(some: _Array, others: _Array) -> bool:
    """Whether two tensors are the same but for rounding."""
    return some.shape == others.shape and float(
        np.abs(some.astype(np.float64) - others.astype(np.float64)).max(initial=0.0)
    ) <= OTHER_FORMULA * scale(others)


def _counts(array: _Array) -> bool:
    """Whether a tensor identifies a computation: floats, not all equal. Shapes and masks are computed in many ways."""
    return array.dtype.kind == "f" and array.size > 1 and bool(np.ptp(array) > 0)


def _in_order(array: _Array) -> _Array:
    return np.sort(array, axis=None)


def _is_among(array: _Array, known: Sequence[_Array]) -> bool:
    return _counts(array) and any(_is_same(_in_order(array), each) for each in known if each.size == array.size)


def _ancestors(calls: Sequence[_Call], keys: Set[_Key]) -> Set[_Key]:
    found = set(keys)
    for call in reversed(calls):
        if not found.isdisjoint(call.outputs):
            found |= call.inputs
    return found


def _named(origin: Origin, module: nn.Module) -> str:
    line = f" ({origin.line})" if origin.line else ""
    of = dict(users_module(module).named_modules()).get(origin.module)
    name = f'{type(of).__name__} "{origin.module}"' if isinstance(of, _NAMED) else str(origin)
    return f"{name}{line}"


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no type for its subclassing
    """Keeps the results of every operator that depend on a module's inputs.

    Attributes:
        path: Names of the modules that are running, the outermost first.
        calls: The operators, in their order.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor for this
        self.path: list[str] = []
        self.calls: list[_Call] = []
        self._views: dict[int, dict[int, Tensor]] = {}  # by storage and id; kept alive, so that ids stay unique
        self._writes: collections.Counter[int] = collections.Counter()
        self._dependent = set(map(self.key, inputs))

    def key(self, tensor: Tensor) -> _Key:
        """Give the key of a tensor with its present values."""
        storage = tensor.untyped_storage().data_ptr()
        self._views.setdefault(storage, {})[id(tensor)] = tensor
        return id(tensor), self._writes[storage]

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator, and keep copies of its results: operators may write to them later."""
        inputs = set(map(self.key, _tensors((args, kwargs))))
        written = {tensor.untyped_storage().data_ptr() for tensor in _written(func, args)}
        changed = [view for storage in written for view in self._views[storage].values()]
        inputs |= set(map(self.key, changed))
        result = func(*args, **(kwargs or {}))
        self._writes.update(written)
        if not inputs.isdisjoint(self._dependent):
            arrays = [each for each in (*_tensors(result), *changed) if each.dtype != torch.bfloat16]
            outputs = {self.key(each): each.detach().numpy().copy() for each in arrays}
            self._dependent |= outputs.keys()
            self.calls.append(_Call(origin_of(func, self.path), inputs, outputs))
        return result


def _written(func: Any, args: Sequence[Any]) -> list[Tensor]:  # noqa: ANN401 - an operator, and what it takes
    """Give the arguments that an operator writes to."""
    arguments = zip(schema_of(func).arguments, args, strict=False)
    return _tensors([value for argument, value in arguments if argument.alias_info and argument.alias_info.is_write])


def _tensors(values: Any) -> list[Tensor]:  # noqa: ANN401 - what operators take and return
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
