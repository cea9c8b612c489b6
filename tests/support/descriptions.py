"""Publications and described models of direction classifiers, for the tests that need their tensors."""

import torch

from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.described_model import DescribedModel, describe_model
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier

__all__ = ["describe_architecture", "describe_classifier"]


def describe_classifier(classifier: DirectionClassifier, name: str = "direction_small") -> DescribedModel:
    """Describe a classifier as `rnnserve export` does; its labels are "0", "1", …, one for each class."""
    labels = tuple(map(str, range(classifier.architecture.classes)))
    return describe_model(classifier_publication(Checkpoint(name, classifier, labels, "0" * 64, None)))


def describe_architecture(architecture: Architecture) -> DescribedModel:
    """Describe a classifier of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return describe_classifier(DirectionClassifier.of(architecture).eval())
