"""The models of the fuzzed servers, and a server that parses every request in full, as the oracle.

The other servers recognize requests by templates. The models are all examples and a recurrent classifier.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

from kit.examples import publish_examples
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.pipeline import publish
from rnnserve.models import Architecture, Checkpoint, DirectionClassifier
from rnnserve.server import Server, Settings
from rnnserve.server.fast_path import dispatcher
from rnnserve.server.testing import serve

_LAYERS, _HIDDEN = 2, 16

CLASSIFIERS = {"direction": (_LAYERS, _HIDDEN)}
"""By name: (layers * directions, hidden)."""


def publish_models(root: Path) -> None:
    """Publish a version of each model, in about eight seconds. The classifier has random weights from a seed."""
    publish_examples(root)
    for name in CLASSIFIERS:
        torch.manual_seed(5)
        classifier = DirectionClassifier.of(Architecture(hidden=_HIDDEN, num_layers=_LAYERS)).eval()
        checkpoint = Checkpoint(name, classifier, ("left", "right"), "0" * 64, None)
        publish(classifier_publication(checkpoint), repository=root, progress=False)


class _NoTemplates:
    """A cache that keeps no template and recognizes no request."""

    def __init__(self, **_: object) -> None:
        pass

    def clear(self):
        pass

    def add(self, *_):
        pass

    def shared(self, _):
        return None

    recognise = shared


@contextlib.contextmanager
def serve_reading_whole(repository: Path) -> Iterator[Server]:
    """Serve on the plain transport without templates."""
    with contextlib.ExitStack() as stack:
        with mock.patch.object(dispatcher, "PrefixCache", _NoTemplates):
            server = stack.enter_context(serve(repository, Settings(provider="cpu", plain=True)))
        yield server
