"""The steps about values: publish on the CPU, then verify, compare with reference outputs and list nodes on the device.

The models are single layers of each cell, wide layers, and stacks of two layers in two directions.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from benchmarks.errors import BenchmarkError
from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, one_line, rows_or_failure
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.publication import Publication
from rnnserve.export.errors import ParityError
from rnnserve.export.onnx_runner import PROVIDERS
from rnnserve.export.parity import OnnxRunner, verify_parity
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.pipeline import publish
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL, Version, read_version
from rnnserve.protos.golden import Inference, load_cases, replay
from rnnserve.protos.repository_folders import version_folders
from rnnserve.server.repository.providers import new_session, nodes_by_provider

REPOSITORY = "gpu-models"
"""The folder of the published models inside the working folder. The step `publish` creates it again."""

_SEED = 13
_RECURRENT = {"RNN", "GRU", "LSTM"}
_CELLS = ("rnn", "gru", "lstm")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
        name: Name of the model.
        architecture: Architecture of a direction classifier. Its inputs include lengths and initial states, and its
            outputs include every state.
        falls_back: Whether onnxruntime runs its recurrent operators on the CPU even with CUDA.
    """

    name: str
    architecture: Architecture
    falls_back: bool = False


SUBJECTS = (
    *(Subject(cell, Architecture(cell=cell)) for cell in _CELLS),
    *(
        Subject(f"{cell}_stacked_two_ways", Architecture(cell=cell, num_layers=2, bidirectional=True))
        for cell in _CELLS
    ),
    *(Subject(f"{cell}_wide", Architecture(cell=cell, hidden=128)) for cell in _CELLS),
    # cuDNN also supports relu, but onnxruntime's CUDA provider takes RNN with tanh only.
    Subject("rnn_relu", Architecture(nonlinearity="relu"), falls_back=True),
)


def publish_models(work: Path, device: str) -> Iterator[Row]:
    """Publish every model: export, verification and reference outputs, all on the CPU whatever the device is."""
    shutil.rmtree(work / REPOSITORY, ignore_errors=True)  # no step may use a model of an earlier run
    return _of_each("publish", _publish, work, device)


def prove_models(work: Path, device: str) -> Iterator[Row]:
    """Verify each model.onnx on the device, and show how far rounding moves values there and on the CPU."""
    return _of_each("proof", _prove, work, device)


def replay_golden(work: Path, device: str) -> Iterator[Row]:
    """Compare each model's outputs on the device with its reference outputs."""
    return _of_each("golden", _replay, work, device)


def list_nodes(work: Path, device: str) -> Iterator[Row]:
    """List the nodes of each model.onnx that fell back to the CPU, in a session with the server's settings."""
    return _of_each("nodes", _nodes, work, device)


def published_version(work: Path, subject: Subject) -> Version:
    """Read the version that the step `publish` has published. Raises BenchmarkError if it doesn't exist."""
    repository = work / REPOSITORY
    if not (repository / subject.name).is_dir():
        raise BenchmarkError("the model was not published: see the step publish")
    return read_version(version_folders(repository, [subject.name])[-1])


def replay_row(step: str, subject: Subject, version: Version, device: str, run: Inference) -> Row:
    """Compare a version with its reference outputs, and judge it by the manifest's limits for the device."""
    limits = next((limits for limits in version.manifest.replay_limits if limits.device == device), None)
    if limits is None:
        raise BenchmarkError(f"its manifest has no limits for golden results on {device}")
    cases = load_cases(version.files[GOLDEN])
    failures = replay(cases, run, limits)
    note = one_line("; ".join(failures)) if failures else f"{len(cases)} cases"
    return Row(step, subject.name, f"golden results on {device}", FAILED if failures else HELD, note=note)


def place_nodes(subject: Subject, device: str, nodes: Mapping[str, Mapping[str, int]]) -> Row:
    """Judge the placement of nodes: recurrent operators run on the device unless they are known to fall back.

    Args:
        subject: The model.
        device: "cpu" or "cuda".
        nodes: Number of nodes of each operator, by provider, as `nodes_by_provider` returns them.
    """
    wanted = PROVIDERS[device][0]
    outside = {op: count for provider, ops in nodes.items() if provider != wanted for op, count in ops.items()}
    fell_back = bool(_RECURRENT & outside.keys())
    known = subject.falls_back and device == "cuda"
    listed = ", ".join(f"{count} {op}" for op, count in sorted(outside.items()))
    note = f"on the CPU: {listed}" if outside else "none fell back"
    if known and not fell_back:
        note += "; onnxruntime's RNN does"
    inside = sum(nodes.get(wanted, {}).values())
    verdict = HELD if fell_back == known else FAILED
    return Row("nodes", subject.name, "nodes", verdict, cpu=sum(outside.values()), cuda=inside, note=note)


def _of_each(step: str, find: Callable[[Path, str, Subject], Iterable[Row]], work: Path, device: str) -> Iterator[Row]:
    for subject in SUBJECTS:
        yield from rows_or_failure(step, subject.name, partial(find, work, device, subject))


def _publication(subject: Subject) -> Publication:
    """Make the model with random weights that are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        classifier = DirectionClassifier.of(subject.architecture).eval()
    labels = ("counter-clockwise", "clockwise")
    return classifier_publication(Checkpoint(subject.name, classifier, labels, "0" * 64, None))


def _publish(work: Path, _: str, subject: Subject) -> Iterable[Row]:
    result = publish(_publication(subject), repository=work / REPOSITORY, progress=False)
    note = f"version {result.published.version}"
    yield Row("publish", subject.name, "exported and proven on the CPU", HELD, note=note)


def _prove(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    version = published_version(work, subject)
    what = f"every check of the verification, on {device}"
    try:
        model = describe_model(_publication(subject))
        parity = verify_parity(model, None, version.files[MODEL], progress=False, device=device).parity
    except ParityError as error:
        yield Row("proof", subject.name, what, FAILED, note=one_line(str(error)))
        return
    yield Row("proof", subject.name, what, HELD, note=f"{parity.samples} rows")
    limits = limits_for(device)
    on_cpu, found = _distances(version.manifest.parity), _distances(parity)
    for name, limit in (("step", limits.step), ("sample", limits.sample)):
        yield Row("proof", subject.name, f"{name}: from eager", MEASURED, on_cpu[name], found[name], limit)


def _distances(parity: manifest_pb2.Parity) -> dict[str, float]:
    """Return the largest distances from eager PyTorch of single steps and of the sample."""
    return {
        kind: max((row.onnx_from_eager_max for row in parity.distances if row.input == kind), default=0.0)
        for kind in ("step", "sample")
    }


def _replay(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    version = published_version(work, subject)
    yield replay_row("golden", subject, version, device, OnnxRunner(version.files[MODEL], providers=PROVIDERS[device]))


def _nodes(work: Path, device: str, subject: Subject) -> Iterable[Row]:
    session = new_session(published_version(work, subject).files[MODEL], device)
    yield place_nodes(subject, device, nodes_by_provider(session))
