"""Described models for the tests that need their tensors: of direction classifiers, and of tensors alone."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.described_model import DescribedModel, describe_model
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import InputDescription
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier


def describe_classifier(classifier: DirectionClassifier) -> DescribedModel:
    """Describe a classifier as `rnnserve export` does; its labels are "0", "1", …, one for each class."""
    labels = tuple(map(str, range(classifier.architecture.classes)))
    return describe_model(classifier_publication(Checkpoint("direction_small", classifier, labels, "0" * 64, None)))


def describe_architecture(architecture: Architecture) -> DescribedModel:
    """Describe a classifier of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return describe_classifier(DirectionClassifier.of(architecture).eval())


def tensors_described(
    inputs: Mapping[str, InputDescription],
    outputs: Mapping[str, InputDescription],
    sizes: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> ModelDescription:
    """The description of a model that nothing computes yet, by the names of its tensors."""
    return ModelDescription(
        name="told",
        inputs=[described.tensor(name) for name, described in inputs.items()],
        outputs=[described.tensor(name) for name, described in outputs.items()],
        labels=(),
        samples=(),
        sizes=sizes,
        checkpoint_sha256="",
    )
