"""Matching the tensors of an ONNX file with those of a module: by name, and by order where names differ."""

import dataclasses
from collections.abc import Sequence

import onnx
import onnx_ir as ir

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH

__all__ = ["MatchedFile", "match_tensors", "what_of"]

_Tensors = Sequence[manifest_pb2.Tensor]


@dataclasses.dataclass(frozen=True)
class MatchedFile:
    """An ONNX file with the names of a module's tensors.

    Attributes:
        model: The file's model; inputs and outputs that have a counterpart have its name, axis names and datatype.
        inputs: The names of the module's inputs that it has.
        outputs: The names of the module's outputs that it has.
        fixed: Sizes, by name, of axes that are dynamic in the module and fixed in the file's inputs.
        differences: What differs without an effect on values, a sentence each.
        faults: What makes it another model, a sentence each.
    """

    model: onnx.ModelProto
    inputs: list[str]
    outputs: list[str]
    fixed: dict[str, int]
    differences: list[str]
    faults: list[str]


def match_tensors(file: onnx.ModelProto, described: DescribedModel) -> MatchedFile:
    """Give the inputs and outputs of a file the names of the module's.

    Args:
        file: Anyone's export of the module; it is not changed.
        described: The module, with its description.
    """
    model = ir.from_proto(file)
    return _Matching(model, described).match()


class _Matching:
    def __init__(self, model: ir.Model, described: DescribedModel) -> None:
        self._graph = model.graph
        self._model = model
        self._described = described
        self._fixed: dict[str, int] = {}
        self._differences: list[str] = []
        self._faults: list[str] = []

    def match(self) -> MatchedFile:
        given = [value for value in self._graph.inputs if value.name not in self._graph.initializers]
        inputs = self._paired("input", given, self._described.inputs)
        outputs = self._paired("output", self._graph.outputs, self._described.outputs)
        self._free_names([*inputs, *outputs])
        for tensor, value in inputs:
            self._adapt_input(tensor, value)
        for tensor, value in outputs:
            self._adapt_output(tensor, value)
        self._reorder(inputs, outputs)
        return MatchedFile(
            ir.to_proto(self._model),
            [tensor.name for tensor, _ in inputs],
            [tensor.name for tensor, _ in outputs],
            self._fixed,
            self._differences,
            self._faults,
        )

    def _paired(
        self, kind: str, values: Sequence[ir.Value], tensors: _Tensors
    ) -> list[tuple[manifest_pb2.Tensor, ir.Value]]:
        """Pair by name; then what remains, in order, where datatype kind and rank allow."""
        by_name = {value.name: value for value in values}
        pairs = [(tensor, by_name[tensor.name]) for tensor in tensors if tensor.name in by_name]
        named = {tensor.name for tensor, _ in pairs}
        rest = [value for value in values if value.name not in named]
        for tensor in tensors:
            if tensor.name in named:
                continue
            value = next((value for value in rest if _may_be(value, tensor)), None)
            if value is None:
                self._faults.append(_missing(kind, tensor))
                continue
            rest.remove(value)
            pairs.append((tensor, value))
            self._differences.append(f'{kind} "{value.name}" is compared with the module\'s "{tensor.name}", by order')
        for value in rest:
            if kind == "input":
                self._faults.append(f'input "{value.name}" has no counterpart in the module, so it cannot be run')
            else:
                self._differences.append(f'output "{value.name}" has no counterpart in the module, and is not compared')
        order = [tensor.name for tensor in tensors]
        return sorted(pairs, key=lambda pair: order.index(pair[0].name))

    def _free_names(self, pairs: Sequence[tuple[manifest_pb2.Tensor, ir.Value]]) -> None:
        """Rename values that have a name which another one gets."""
        wanted = {tensor.name: value for tensor, value in pairs}
        values = [*self._graph.inputs, *self._graph.initializers.values()]
        values += [value for node in self._graph.all_nodes() for value in node.outputs]
        for value in values:
            if value.name in wanted and value is not wanted[value.name]:
                value.name = f"{value.name}/renamed"

    def _adapt_input(self, tensor: manifest_pb2.Tensor, value: ir.Value) -> None:
        sizes = list(value.shape) if value.shape is not None else [None] * len(tensor.axes)
        if len(sizes) != len(tensor.axes):
            axes = ", ".join(axis.name for axis in tensor.axes)
            self._faults.append(f'input "{tensor.name}" has {len(sizes)} axes; expected {len(tensor.axes)}: ({axes})')
            return
        for at, (size, axis) in enumerate(zip(sizes, tensor.axes, strict=True)):
            if axis.size == DYNAMIC and isinstance(size, int):
                self._faults.append(
                    f'frozen {what_of(axis.name)}: axis {at} of input "{tensor.name}" is always {size}; export with '
                    f'the axis dynamic, as "{axis.name}"'
                )
                self._fixed[axis.name] = size
            elif axis.size != DYNAMIC and isinstance(size, int) and size != axis.size:
                self._faults.append(
                    f'axis {at} of input "{tensor.name}", "{axis.name}", is {size}; in the module it is {axis.size}'
                )
            elif axis.size == DYNAMIC and _name(size) != axis.name:
                shown = f'named "{_name(size)}"' if _name(size) else "not named"
                self._differences.append(
                    f'axis {at} of input "{tensor.name}" is {shown}; in the module\'s description it is "{axis.name}"'
                )
        value.name = tensor.name
        value.shape = ir.Shape(
            [
                size if isinstance(size, int) else axis.name if axis.size == DYNAMIC else axis.size
                for size, axis in zip(sizes, tensor.axes, strict=True)
            ]
        )
        wanted = ir.DataType.from_numpy(DTYPES[tensor.datatype])
        if value.dtype != wanted and value.dtype is not None:
            self._differences.append(
                f'input "{tensor.name}" is {str(value.dtype).lower()}; the module takes {str(wanted).lower()}'
            )
            self._cast(value, wanted)

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> None:
        """Let an input be of the module's dtype, and cast it to the file's."""
        found = value.dtype
        assert found is not None  # noqa: S101 - checked by the caller
        node = ir.node("Cast", [value], {"to": int(found)})
        value.replace_all_uses_with(node.outputs[0])
        node.replace_input_with(0, value)
        node.outputs[0].name = f"{value.name}/cast"
        node.outputs[0].dtype = found
        value.dtype = dtype
        first = next(iter(self._graph), None)
        if first is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(first, node)

    def _adapt_output(self, tensor: manifest_pb2.Tensor, value: ir.Value) -> None:
        if value.shape is not None and len(value.shape) == len(tensor.axes):
            for at, (size, axis) in enumerate(zip(value.shape, tensor.axes, strict=True)):
                if axis.size == DYNAMIC and isinstance(size, int):
                    self._differences.append(
                        f'axis {at} of output "{tensor.name}" says that it is always {size}; it is "{axis.name}"'
                    )
        value.name = tensor.name
        value.shape = ir.Shape([axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes])

    def _reorder(
        self,
        inputs: Sequence[tuple[manifest_pb2.Tensor, ir.Value]],
        outputs: Sequence[tuple[manifest_pb2.Tensor, ir.Value]],
    ) -> None:
        """Put inputs and outputs into the module's order, what has no counterpart last; drop such outputs."""
        chosen = [value for _, value in inputs]
        others = [value for value in self._graph.inputs if value not in chosen]
        self._graph.inputs[:] = [*chosen, *others]
        self._graph.outputs[:] = [value for _, value in outputs]


def _may_be(value: ir.Value, tensor: manifest_pb2.Tensor) -> bool:
    """Whether a value can stand for a tensor: the same kind of numbers, and as many axes as far as it is known."""
    if value.shape is not None and len(value.shape) != len(tensor.axes):
        return False
    if value.dtype is None:
        return True
    try:
        found = value.dtype.numpy()
    except TypeError:
        return False
    kinds = {found.kind, DTYPES[tensor.datatype].kind}
    return len(kinds) == 1 or kinds <= {"i", "u"}


def _missing(kind: str, tensor: manifest_pb2.Tensor) -> str:
    if kind == "output":
        return f'missing output: nothing gives the module\'s "{tensor.name}"'
    if tensor.lengths_of:
        return (
            f'missing lengths: no input stands for "{tensor.name}", so every row is as long as "{tensor.lengths_of}", '
            "and padding changes the answers"
        )
    if tensor.default == manifest_pb2.DEFAULT_ZEROS:
        return f'missing state: no input stands for "{tensor.name}", so every sequence begins with the same state'
    return f'missing input: nothing stands for the module\'s "{tensor.name}"'


def _name(size: object) -> str:
    return str(size.value or "") if isinstance(size, ir.SymbolicDim) else ""


def what_of(axis: str) -> str:
    """Say what of a request an axis is."""
    return "batch" if axis == BATCH else "length"
