"""Checkpoints: weights in safetensors, everything else in JSON, no pickles.

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
from rnnserve.models.folder_replacement import replace_folder
from rnnserve.models.training import TrainingReport

__all__ = ["DESCRIPTION", "FORMAT", "WEIGHTS", "Checkpoint", "load_checkpoint", "save_checkpoint"]

WEIGHTS = "weights.safetensors"
DESCRIPTION = "checkpoint.json"
# Format number of checkpoint.json. Increase it if an older reader would misread the file.
FORMAT = 1

_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint's folder.

    Attributes:
        name: Name of the model, and later of its folder in a repository.
        classifier: The classifier with its float32 weights, in evaluation mode.
        labels: Names of the classes: labels[i] is the name of class i.
        sha256: SHA-256 digest of the weights file, in hexadecimal.
        training: The fields of `TrainingReport` as plain JSON. None for weights trained elsewhere.
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
    """Write a complete checkpoint, or none if writing fails. Equal arguments produce equal bytes.

    Args:
        folder: Folder of this checkpoint, usually `checkpoints/<name>`. Replaces an older checkpoint there.
        classifier: A classifier with finite float32 weights.
        name: Name of the model, not empty. `rnnserve export` applies the rule for names in a repository.
        labels: A name for each class, all different.
        report: Results of the training.

    Raises:
        CheckpointError: If an argument doesn't match this description, or the folder cannot be written.
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
        "training": None if report is None else _to_json(report),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    replace_folder(Path(folder), {WEIGHTS: weights, DESCRIPTION: text.encode()})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check all of its content.

    Args:
        folder: Folder of one checkpoint, usually `checkpoints/<name>`.

    Raises:
        CheckpointError: If a file is missing or damaged, or a tensor doesn't match the description. The message names
            the file and the entry.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint {folder}; create one with `rnnserve train`")
    path = folder / DESCRIPTION
    document = _read_description(path)
    architecture = _parse_architecture(path, _get_entry(path, document, "architecture", dict))
    labels = _get_entry(path, document, "labels", list)
    _check_labels(labels, architecture, f"{path}: labels")
    sha256 = _get_entry(path, document, "weights_sha256", str)
    training = document.get("training")
    if training is not None and not isinstance(training, dict):
        raise CheckpointError(f"{path}: training is {training!r}, expected an object or null")
    name = _get_entry(path, document, "name", str)
    return Checkpoint(name, _load_classifier(folder / WEIGHTS, architecture, sha256), tuple(labels), sha256, training)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds {type(document).__name__}, expected an object")
    found = _get_entry(path, document, "format", int)
    if found != FORMAT:
        raise CheckpointError(f"{path}: format is {found}; this version of rnnserve reads format {FORMAT}")
    return document


def _get_entry(path: Path, document: dict[str, Any], key: str, expected_type: type[_Entry]) -> _Entry:
    if key not in document:
        raise CheckpointError(f"{path}: {key} is missing")
    value = document[key]
    if not isinstance(value, expected_type):
        raise CheckpointError(f"{path}: {key} is {value!r}, expected {expected_type.__name__}")
    return value


def _parse_architecture(path: Path, entries: dict[str, Any]) -> Architecture:
    known = {field.name for field in fields(Architecture)}
    for key in sorted(known ^ entries.keys()):
        raise CheckpointError(f"{path}: architecture.{key} is {'missing' if key in known else 'unknown'}")
    try:
        return Architecture(**entries)
    except ArchitectureError as error:
        raise CheckpointError(f"{path}: architecture: {error}") from error


def _check_labels(labels: Sequence[str], architecture: Architecture, what: str) -> None:
    if any(not isinstance(label, str) or not label for label in labels):
        raise CheckpointError(f"{what} are {labels!r}, expected a non-empty name for each class")
    if len(labels) != architecture.classes or len(set(labels)) != len(labels):
        raise CheckpointError(
            f"{what} are {list(labels)}, expected {architecture.classes} different names, one for each class"
        )


def _load_classifier(path: Path, architecture: Architecture, sha256: str) -> DirectionClassifier:
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointError(f"{path} does not match {DESCRIPTION}: its SHA-256 is {found}, expected {sha256}")
    try:
        state = load_tensors(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not in the safetensors format: {error}") from error
    # A new module draws random weights, which must not advance the caller's random generator.
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


def _to_json(report: TrainingReport) -> dict[str, Any]:
    return {**asdict(report), "accuracies": report.accuracies._asdict()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
