"""Compare an ONNX file from any exporter with its module, and find the first operator with a different result."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating, settle_outputs
from rnnserve.export.description.publication import Publication
from rnnserve.export.errors import ParityError
from rnnserve.export.first_non_finite import Origin, origin_of, paths_of, tensors_in
from rnnserve.export.onnx_files import load_proto, read_onnx, save_model
from rnnserve.export.parity import OnnxRunner, verify_parity
from rnnserve.export.parity.tolerances import OTHER_FORMULA
from rnnserve.export.surroundings import left_as_they_were, one_thread, users_module
from rnnserve.export.tensors import Arrays, draw_inputs
from rnnserve.export.torch_adapter import OperatorsSeen, schema_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["CheckedFile", "check_file", "differing_operator"]

_Array = npt.NDArray[Any]
_Key = tuple[int, int]  # of a tensor: its id, and the number of writes to its storage so far

_SCALES = (1.0, 0.0, 1e-3, 30.0, 1000.0)  # factors for float inputs: a small selection of the verification's inputs
_ROWS, _STEPS = 3, 6
_NAMED = (nn.RNNBase, nn.RNNCellBase)  # their operators are reported by the module's name


@dataclasses.dataclass(frozen=True)
class CheckedFile:
    """The result of a comparison."""

    faults: Sequence[str] = ()  # the differences, one sentence each; empty if the file matches the module
    operator: str = ""  # the first operator whose result is missing in the file; empty if it is unknown
    largest: float = 0.0  # the largest difference between the file's and the module's floats, if there are no faults


def check_file(path: Path, publication: Publication, *, progress: bool = True) -> CheckedFile:
    """Compare an ONNX file from any exporter with its module. The file must pass the same checks as our own exports.

    Inputs and outputs are paired by name, or by position if a name differs. Weights may be in separate files in the
    same folder.
    """
    file = read_onnx(path)
    with left_as_they_were(publication.module):
        model = describe_model(publication)
        settle_outputs(model)
        _rename_as(file, model)
        data = save_model(file)
        with one_thread(), evaluating(model.module):
            try:
                verification = verify_parity(model, None, data, progress=progress)
            except ParityError as error:
                faults = [*_other_formulas(file), *error.failures]
                return CheckedFile(faults, differing_operator(model, data))
    return CheckedFile(largest=max((row.onnx_from_eager_max for row in verification.parity.distances), default=0.0))


def _rename_as(file: ir.Model, described: DescribedModel) -> None:
    """Rename a file's tensors and dynamic axes as in the module. Fixed sizes stay fixed."""
    graph = file.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    pairs = _paired(inputs, described.inputs) | _paired(graph.outputs, described.outputs)
    values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph.all_nodes() for v in node.outputs)]
    for value in values:
        if value.name in pairs and value is not pairs[value.name][1]:
            value.name = f"{value.name}/renamed"  # makes the name free
    for name, (tensor, value) in pairs.items():
        value.name = name
        if value.shape is None or len(value.shape) != len(tensor.axes):
            continue
        axes = [axis.name if axis.size < 0 else axis.size for axis in tensor.axes]
        if any(value is each for each in inputs):  # output sizes in the file have no effect
            axes = [size if isinstance(size, int) else axis for size, axis in zip(value.shape, axes, strict=True)]
        value.shape = ir.Shape(axes)
    graph.outputs[:] = [pairs[t.name][1] for t in described.outputs if t.name in pairs] or list(graph.outputs)


def _paired(
    values: Sequence[ir.Value], tensors: Sequence[manifest_pb2.Tensor]
) -> dict[str, tuple[manifest_pb2.Tensor, ir.Value]]:
    """Pair values with tensors by name. If names differ but the counts are equal, pair them in order."""
    by_name = {value.name: value for value in values}
    if len(values) == len(tensors) and not all(tensor.name in by_name for tensor in tensors):
        by_name = {tensor.name: value for tensor, value in zip(tensors, values, strict=True)}
    return {tensor.name: (tensor, by_name[tensor.name]) for tensor in tensors if tensor.name in by_name}


def _other_formulas(model: ir.Model) -> Iterator[str]:
    """Report GRUs with a different reset formula than PyTorch's, the most common mistake of other exporters."""
    for node in model.graph:
        if node.op_type == "GRU" and not node.attributes.get_int("linear_before_reset", 0):
            name = node.name or node.outputs[0].name
            yield (
                f'node "{name}" (GRU) has linear_before_reset=0, but PyTorch multiplies by the reset gate after the '
                "hidden weights. Set linear_before_reset=1"
            )


@dataclasses.dataclass(frozen=True)
class _Call:
    """One call of an operator on values that depend on the module's inputs."""

    origin: Origin
    inputs: Set[_Key]  # its argument tensors
    outputs: Mapping[_Key, _Array]  # copies of the tensors it returned or wrote to


def differing_operator(model: DescribedModel, onnx_model: bytes) -> str:
    """Name the first operator of a module whose result is missing in an ONNX graph, as a sentence without full stop.

    Exporters split computations into different nodes. So an operator is named only if a wrong output depends on its
    result, and none of the values on the way from it to the output is in the graph. Two tensors count as equal if they
    contain the same numbers in any order, because layouts differ. Returns an empty string if the outputs agree on a few
    inputs of each kind, or if no operator can be named.
    """
    with contextlib.suppress(Exception):  # the verification itself reports errors
        opened = load_proto(onnx_model)
        outputs = {value.name for value in opened.graph.output}
        results = {name for node in opened.graph.node for name in node.output if name}
        opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(results - outputs))
        runner = OnnxRunner(opened.SerializeToString(), optimized=False)
        for arrays in _drawn(model):
            with contextlib.suppress(Exception), evaluating(model.module):
                origin = _first_differing(model, arrays, runner(arrays))
                if origin is not None:
                    return f"the first operator with a different result is {_named(origin, model.module)}"
    return ""


def _drawn(model: DescribedModel) -> Iterator[Arrays]:
    sizes = {axis: min(max(_ROWS if axis == BATCH else _STEPS, low), high) for axis, (low, high) in model.sizes.items()}
    for number, factor in enumerate(_SCALES):
        arrays = draw_inputs(model.inputs, np.random.default_rng(number), sizes, ragged=number > 0)
        yield {
            name: (array * factor).astype(array.dtype) if array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }


def _first_differing(model: DescribedModel, arrays: Arrays, found: Arrays) -> Origin | None:
    """Run the module, and find the first operator that leads to wrong outputs only. `found` are the graph's values."""
    arguments = model.module.arguments(arrays)
    recorder = _Recorder(tensors_in(arguments))
    with torch.no_grad(), paths_of(model.module, recorder.path), OperatorsSeen(recorder.see):
        results = model.module(*arguments)
    wrong = {
        recorder.key(result)
        for name, result in zip(model.module.outputs, results, strict=True)
        if name in found and not _is_same(found[name], result.numpy())
    }
    values = [each for each in (*arrays.values(), *found.values()) if isinstance(each, np.ndarray) and _counts(each)]
    known = [np.sort(value, axis=None) for value in values]
    right = {key for call in recorder.calls for key, array in call.outputs.items() if _is_among(array, known)}
    suspects = _ancestors(recorder.calls, wrong) - _ancestors(recorder.calls, right)
    for call in recorder.calls:
        if any(key in suspects and _counts(array) for key, array in call.outputs.items()):
            return call.origin
    return None


def _is_same(some: _Array, others: _Array) -> bool:
    """Whether two tensors are equal except for rounding."""
    return some.shape == others.shape and float(
        np.abs(some.astype(np.float64) - others.astype(np.float64)).max(initial=0.0)
    ) <= OTHER_FORMULA * scale(others)


def _counts(array: _Array) -> bool:
    """Whether a tensor can identify an operator: it holds unequal floats. Shapes and masks arise in many ways."""
    return array.dtype.kind == "f" and array.size > 1 and bool(np.ptp(array) > 0)


def _is_among(array: _Array, known: Sequence[_Array]) -> bool:
    if not _counts(array):
        return False
    in_order = np.sort(array, axis=None)
    return any(_is_same(in_order, each) for each in known if each.size == array.size)


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


class _Recorder:
    """Records operators whose results depend on a module's inputs. `path` has the names of the running modules."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.path: list[str] = []
        self.calls: list[_Call] = []
        self._views: dict[int, dict[int, Tensor]] = {}  # by storage and id, kept alive so that ids stay unique
        self._writes: collections.Counter[int] = collections.Counter()
        self._dependent = set(map(self.key, inputs))

    def key(self, tensor: Tensor) -> _Key:
        """Return the key of a tensor with its current values."""
        storage = tensor.untyped_storage().data_ptr()
        self._views.setdefault(storage, {})[id(tensor)] = tensor
        return id(tensor), self._writes[storage]

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any], None]:  # noqa: ANN401
        """Record an operator, and copy its results because later operators may write to them."""
        inputs = set(map(self.key, tensors_in((args, kwargs))))
        arguments = zip(schema_of(func).arguments, args, strict=False)
        writes = [value for argument, value in arguments if argument.alias_info and argument.alias_info.is_write]
        written = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(writes)}
        changed = [view for storage in written for view in self._views[storage].values()]
        inputs |= set(map(self.key, changed))

        def see_result(result: Any) -> None:  # noqa: ANN401
            self._writes.update(written)
            if not inputs.isdisjoint(self._dependent):
                arrays = [each for each in (*tensors_in(result), *changed) if each.dtype != torch.bfloat16]
                outputs = {self.key(each): each.detach().numpy().copy() for each in arrays}
                self._dependent |= outputs.keys()
                self.calls.append(_Call(origin_of(func, self.path), inputs, outputs))

        return see_result
