"""The models that are proven: one for each cell, wide ones, and stacks of two layers in two directions."""

import dataclasses
from pathlib import Path

import torch

from benchmarks.errors import BenchmarkError
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.publication import Publication
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier
from rnnserve.protos.artifact import Version, read_version
from rnnserve.protos.repository_folders import version_folders

__all__ = ["REPOSITORY", "SUBJECTS", "Subject", "publication_of", "published_version"]

REPOSITORY = "gpu-models"
"""The folder of the published models, in the folder that the program works in; the step `publish` makes it anew."""

_SEED = 13


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
        name: The model's.
        architecture: A direction classifier's: its inputs have lengths and initial states, its outputs every state.
        falls_back: Whether onnxruntime runs its recurrent operators on the CPU, also with CUDA.
    """

    name: str
    architecture: Architecture
    falls_back: bool = False


SUBJECTS = (
    *(Subject(cell, Architecture(cell=cell)) for cell in ("rnn", "gru", "lstm")),
    *(
        Subject(f"{cell}_stacked_two_ways", Architecture(cell=cell, num_layers=2, bidirectional=True))
        for cell in ("rnn", "gru", "lstm")
    ),
    *(Subject(f"{cell}_wide", Architecture(cell=cell, hidden=128)) for cell in ("rnn", "gru", "lstm")),
    # cuDNN has relu, too; onnxruntime's CUDA provider takes RNN with tanh only.
    Subject("rnn_relu", Architecture(nonlinearity="relu"), falls_back=True),
)


def publication_of(subject: Subject) -> Publication:
    """Make the model, with random weights that are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        classifier = DirectionClassifier.of(subject.architecture).eval()
    labels = ("counter-clockwise", "clockwise")
    return classifier_publication(Checkpoint(subject.name, classifier, labels, "0" * 64, None))


def published_version(work: Path, subject: Subject) -> Version:
    """Read the version that the step `publish` has published.

    Raises:
        BenchmarkError: If there is none.
        ArtifactError: If it is damaged.
    """
    repository = work / REPOSITORY
    if not (repository / subject.name).is_dir():
        raise BenchmarkError("it was not published: see the step publish")
    return read_version(version_folders(repository, [subject.name])[-1])
