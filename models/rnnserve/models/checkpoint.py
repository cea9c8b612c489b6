"""Checkpoints: weights in safetensors, all else in JSON, no pickles.

::

    <folder>/weights.safetensors    the classifier's state_dict, float32
    <folder>/checkpoint.json        format, name, architecture, labels, training, and the digest of the weights
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rnnserve.models.architecture import Architecture
from rnnserve.models.classifier import DirectionClassifier
from rnnserve.models.errors import ArchitectureError, CheckpointError
from rnnserve.models.training import TrainingReport
from rnnserve.models.whole import write_folder

__all__ = ["DESCRIPTION", "FORMAT", "WEIGHTS", "Checkpoint", "load_checkpoint", "save_checkpoint"]

WEIGHTS = "weights.safetensors"
DESCRIPTION = "checkpoint.json"
# Of checkpoint.json; rises when an older reader would misread it.
FORMAT = 1

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's folder holds.

    Attributes:
        name: the model's, later its folder's in a repository.
        classifier: with its weights, float32, in evaluation mode.
        labels: the name of class i is labels[i].
        sha256: of the file of weights, in hexadecimal.
        training: what `TrainingReport` holds, as plain JSON; None for weights that were not trained here.
    """

    name: str
    classifier: DirectionClassifier
    labels: tuple[str, ...]
    sha256: str
    training: dict[str, Any] | None


def save_checkpoint(
    folder: Path,
    classifier: DirectionClassifier,
    *,
    name: str,
    labels: Sequence[str],
    report: TrainingReport | None = None,
) -> None:
    """Write a checkpoint whole or not at all; equal arguments give equal bytes.

    Args:
        folder: of this one checkpoint, by custom `checkpoints/<name>`; an older checkpoint there is replaced.
        classifier: with finite float32 weights.
        name: the model's, not empty. `rnnserve export` holds it to the rule for names in a repository.
        labels: a name for each class, all different.
        report: how the training went.

    Raises:
        CheckpointError: an argument is not as said above, or the folder cannot be written.
    """
    architecture = classifier.architecture
    if not name:
        raise CheckpointError("name is empty, expected the model's name")
    _check_labels(labels, architecture, "labels")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in classifier.state_dict().items()}
    _check_state(state, classifier, "the classifier")
    weights = save_tensors(state)
    description = {
        "format": FORMAT,
        "name": name,
        "architecture": asdict(architecture),
        "labels": list(labels),
        "training": None if report is None else _plain(report),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    write_folder(Path(folder), {WEIGHTS: weights, DESCRIPTION: text.encode()})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check all of it.

    Args:
        folder: of one checkpoint, by custom `checkpoints/<name>`.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is not what the description says; the message names
            the file and the entry.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint {folder}: `rnnserve train` makes them")
    path = folder / DESCRIPTION
    document = _document(path)
    architecture = _architecture(path, _entry(path, document, "architecture", dict))
    labels = _entry(path, document, "labels", list)
    _check_labels(labels, architecture, f"{path}: labels")
    sha256 = _entry(path, document, "weights_sha256", str)
    training = document.get("training")
    if training is not None and not isinstance(training, dict):
        raise CheckpointError(f"{path}: training is {training!r}, expected an object or null")
    name = _entry(path, document, "name", str)
    return Checkpoint(name, _classifier(folder / WEIGHTS, architecture, sha256), tuple(labels), sha256, training)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds {type(document).__name__}, expected an object")
    found = _entry(path, document, "format", int)
    if found != FORMAT:
        raise CheckpointError(f"{path}: format is {found}; this version of rnnserve reads format {FORMAT}")
    return document


def _entry(path: Path, document: dict[str, Any], key: str, kind: type[_Kind]) -> _Kind:
    if key not in document:
        raise CheckpointError(f"{path}: {key} is missing")
    value = document[key]
    if not isinstance(value, kind):
        raise CheckpointError(f"{path}: {key} is {value!r}, expected {kind.__name__}")
    return value


def _architecture(path: Path, entries: dict[str, Any]) -> Architecture:
    known = {field.name for field in fields(Architecture)}
    for key in sorted(known ^ entries.keys()):
        raise CheckpointError(f"{path}: architecture.{key} is {'missing' if key in known else 'unknown'}")
    try:
        return Architecture(**entries)
    except ArchitectureError as error:
        raise CheckpointError(f"{path}: architecture: {error}") from error


def _check_labels(labels: Sequence[str], architecture: Architecture, what: str) -> None:
    if any(not isinstance(label, str) or not label for label in labels):
        raise CheckpointError(f"{what} are {labels!r}, expected a name, not empty, for each class")
    if len(labels) != architecture.classes or len(set(labels)) != len(labels):
        raise CheckpointError(
            f"{what} are {list(labels)}, expected {architecture.classes} different ones, a name for each class"
        )


def _classifier(path: Path, architecture: Architecture, sha256: str) -> DirectionClassifier:
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"{path} is not the file that {DESCRIPTION} describes: its SHA-256 is {found}, expected {sha256}"
        )
    try:
        state = load_tensors(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not in the safetensors format: {error}") from error
    # The random weights that a new module draws are not the caller's randomness to lose.
    with torch.random.fork_rng(devices=[]):
        classifier = DirectionClassifier.of(architecture).float()
    _check_state(state, classifier, str(path))
    classifier.load_state_dict(state)
    return classifier.eval()


def _check_state(state: dict[str, Tensor], classifier: DirectionClassifier, where: str) -> None:
    expected = classifier.state_dict()
    for key in sorted(expected.keys() ^ state.keys()):
        fault = "is missing" if key in expected else "belongs to no parameter of this architecture"
        raise CheckpointError(f"{where}: tensor {key} {fault}")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise CheckpointError(
                f"{where}: tensor {key} is {tuple(tensor.shape)}, expected {tuple(expected[key].shape)} for "
                f"{classifier.architecture}"
            )
        if tensor.dtype != torch.float32:
            raise CheckpointError(f"{where}: tensor {key} is {tensor.dtype}, expected torch.float32")
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{where}: tensor {key} holds NaN or infinity")


def _plain(report: TrainingReport) -> dict[str, Any]:
    return {**asdict(report), "accuracies": report.accuracies._asdict()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
