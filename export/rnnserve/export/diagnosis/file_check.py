"""The whole comparison of an ONNX file with a module: what differs without effect, and what is wrong."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.description.publication import Publication
from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.graph_walk import first_wrong_node, mistaken_outputs
from rnnserve.export.diagnosis.recurrent_nodes import compare_recurrent_nodes, layout_faults
from rnnserve.export.diagnosis.size_trials import SizeTrials
from rnnserve.export.diagnosis.tensor_matching import MatchedFile, match_tensors
from rnnserve.export.errors import ExportError, ParityError
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.module_interface import Arrays
from rnnserve.export.onnx_files import read_onnx
from rnnserve.export.parity import RUN_SECONDS, OnnxProcess, OnnxRunner, prove
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.torch_threads import one_thread

__all__ = ["CheckedFile", "check_file"]


@dataclasses.dataclass(frozen=True)
class CheckedFile:
    """What a comparison found.

    Attributes:
        differences: What is not as in the module's description and changes no value, a sentence each.
        faults: What is wrong, a sentence each, causes before effects; empty if the file computes what the module does.
    """

    differences: Sequence[str]
    faults: Sequence[str]


def check_file(
    path: Path, publication: Publication, *, progress: bool = True, timeout: float = RUN_SECONDS
) -> CheckedFile:
    """Compare anyone's ONNX export with the module that it was made from.

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
        described = describe_model(publication)
        matched = match_tensors(file, described)
        with one_thread(), evaluating(described.module), OnnxProcess(timeout) as process:
            faults = _faults(matched, described, process, progress=progress)
            return CheckedFile(matched.differences, list(dict.fromkeys(faults)))


def _faults(matched: MatchedFile, described: DescribedModel, process: OnnxProcess, *, progress: bool) -> Iterator[str]:
    yield from matched.faults
    data = matched.model.SerializeToString()
    try:
        runner = OnnxRunner(data, process=process)
    except RuntimeError as error:
        yield from layout_faults(matched.model)
        yield str(error)
        return
    trials = SizeTrials(described, reference_of(described), matched, runner)
    frozen = list(trials.faults())
    yield from frozen
    differences: Sequence[str] = ()
    if not matched.faults and not frozen:
        try:
            prove(described, None, data, progress=progress, process=process)
        except ParityError as error:
            differences = error.failures
    if trials.failing is not None and (matched.faults or frozen or differences):
        yield from _causes(matched.model, described, trials.failing, process)
    yield from _without_repetitions(differences)


def _without_repetitions(failures: Sequence[str]) -> Iterator[str]:
    """Give one of the sentences that differ only in the length of the sequences, and how many there are."""
    alike: dict[str, list[str]] = {}
    for failure in failures:
        alike.setdefault(failure.partition(" at sequence ")[0], []).append(failure)
    for first, *others in alike.values():
        yield f"{first} (and at {len(others)} other lengths)" if others else first


def _causes(model: onnx.ModelProto, described: DescribedModel, inputs: Arrays, process: OnnxProcess) -> Iterator[str]:
    """Compare the graph with a right export's: its recurrent operators, then every node.

    Nothing is found where the module has no right export, or where values of the graph cannot be its outputs.
    """
    with contextlib.suppress(ExportError, RuntimeError):
        right = GraphValues(onnx.load_model_from_string(to_onnx(described)), inputs)
        found = GraphValues(model, inputs, process)
        yield from compare_recurrent_nodes(found, right)
        yield from mistaken_outputs(found, right)
        walked = first_wrong_node(found, right)
        if walked:
            yield walked
