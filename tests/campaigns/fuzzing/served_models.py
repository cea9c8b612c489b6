"""The models that fuzzed servers have: each example of a model of any tensors, and a recurrent classifier."""

from pathlib import Path

import torch

from kit.examples import publish_examples
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.pipeline import publish
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier

__all__ = ["CLASSIFIERS", "publish_models"]

_LAYERS, _HIDDEN = 2, 16

CLASSIFIERS = {"direction": (_LAYERS, _HIDDEN)}
"""By name: (layers * directions, hidden)."""


def publish_models(root: Path) -> None:
    """Write a version of each model, in about eight seconds. The classifier's weights are random, from a seed."""
    publish_examples(root)
    for name in CLASSIFIERS:
        torch.manual_seed(5)
        classifier = DirectionClassifier.of(Architecture(hidden=_HIDDEN, num_layers=_LAYERS)).eval()
        checkpoint = Checkpoint(name, classifier, ("left", "right"), "0" * 64, None)
        publish(classifier_publication(checkpoint), repository=root, progress=False)
