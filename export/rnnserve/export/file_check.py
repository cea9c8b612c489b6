"""Comparing anyone's ONNX file with the module that it was made from: by the proof that exports must pass."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.description.publication import Publication
from rnnserve.export.errors import ParityError
from rnnserve.export.first_operator import differing_operator
from rnnserve.export.onnx_files import read_onnx
from rnnserve.export.parity import RUN_SECONDS, OnnxProcess, prove
from rnnserve.export.parity.reference import one_thread
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.protos import manifest_pb2

__all__ = ["CheckedFile", "check_file"]


@dataclasses.dataclass(frozen=True)
class CheckedFile:
    """The result of a comparison.

    Attributes:
        faults: What is wrong, a sentence each; empty if the file computes what the module does.
        operator: The first operator of the module whose result the file does not have; empty where none can be named.
        largest: The largest difference of a float from the module's, where nothing is wrong.
    """

    faults: Sequence[str] = ()
    operator: str = ""
    largest: float = 0.0


def check_file(
    path: Path, publication: Publication, *, progress: bool = True, timeout: float = RUN_SECONDS
) -> CheckedFile:
    """Compare anyone's ONNX export with the module that it was made from.

    Inputs and outputs are paired by name. If a name differs, they are paired in order.

    Args:
        path: The ONNX file; weights may lie in files beside it.
        publication: The module with its description.
        progress: Whether to show a progress bar on standard error.
        timeout: Seconds that onnxruntime may take to load the file, and for each run of it.

    Raises:
        WrongArguments: If it is no ONNX file, or the description does not fit the module.
        UnsupportedModule: If such a module cannot be published at all.
        OSError: If the file cannot be read.
    """
    file = read_onnx(path, external_data=True)
    with left_as_they_were(publication.module):
        model = describe_model(publication)
        renamed = _with_names_of(file, model)
        data = renamed.SerializeToString()
        with one_thread(), evaluating(model.module), OnnxProcess(timeout) as process:
            try:
                proof = prove(model, None, data, progress=progress, process=process)
            except ParityError as error:
                faults = [*_other_formulas(renamed), *_without_repetitions(error.failures)]
                return CheckedFile(faults, differing_operator(model, data, process))
    return CheckedFile(largest=max((row.onnx_from_eager_max for row in proof.parity.distances), default=0.0))


def _with_names_of(file: onnx.ModelProto, described: DescribedModel) -> onnx.ModelProto:
    """Copy a file with the names of the module's tensors and of their dynamic axes; sizes that are fixed stay."""
    model = ir.from_proto(file)
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    pairs = _paired(inputs, described.inputs) | _paired(graph.outputs, described.outputs)
    values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph.all_nodes() for v in node.outputs)]
    for value in values:
        if value.name in pairs and value is not pairs[value.name][1]:
            value.name = f"{value.name}/renamed"  # so that the name is free
    for name, (tensor, value) in pairs.items():
        value.name = name
        if value.shape is None or len(value.shape) != len(tensor.axes):
            continue
        axes = [axis.name if axis.size < 0 else axis.size for axis in tensor.axes]
        if any(value is each for each in inputs):  # what the file says of its outputs' sizes has no effect
            axes = [size if isinstance(size, int) else axis for size, axis in zip(value.shape, axes, strict=True)]
        value.shape = ir.Shape(axes)
    graph.outputs[:] = [pairs[t.name][1] for t in described.outputs if t.name in pairs] or list(graph.outputs)
    return ir.to_proto(model)


def _paired(
    values: Sequence[ir.Value], tensors: Sequence[manifest_pb2.Tensor]
) -> dict[str, tuple[manifest_pb2.Tensor, ir.Value]]:
    """Pair values with tensors by name; in order, if names differ and the numbers of both are the same."""
    by_name = {value.name: value for value in values}
    if len(values) == len(tensors) and not all(tensor.name in by_name for tensor in tensors):
        by_name = {tensor.name: value for tensor, value in zip(tensors, values, strict=True)}
    return {tensor.name: (tensor, by_name[tensor.name]) for tensor in tensors if tensor.name in by_name}


def _other_formulas(model: onnx.ModelProto) -> Iterator[str]:
    """Name GRUs of the formula that PyTorch does not have: the fault that other exporters make most."""
    for node in model.graph.node:
        if node.op_type == "GRU" and not any(a.name == "linear_before_reset" and a.i for a in node.attribute):
            yield (
                f'node "{node.name or node.output[0]}" (GRU) has linear_before_reset=0: PyTorch multiplies by the '
                "reset gate after the hidden weights; set linear_before_reset=1"
            )


def _without_repetitions(failures: Sequence[str]) -> Iterator[str]:
    """Give one of the sentences that differ only in the length of the sequences, and how many there are."""
    alike: dict[str, list[str]] = {}
    for failure in failures:
        alike.setdefault(failure.partition(" at sequence ")[0], []).append(failure)
    for first, *others in alike.values():
        yield f"{first} (and at {len(others)} other lengths)" if others else first
