"""The measured models, published as `rnnserve export` does, and the outputs of eager PyTorch.

It is a separate program, `python -m benchmarks.make_models FOLDER`, so that the measuring process does not load torch:

::

    <FOLDER>/all_outputs/<model>/    as published, with all outputs
            /logits_only/<model>/    the same weights in a module without state inputs and outputs, for inferred states
            /sequences/<model>/      the same weights without `output`, only for models of scenarios that send single
                                     steps. Its config.pbtxt asks the server to keep the states
            /three_models/<model>/   the tutorial's three architectures, to measure the start of a server
            /answers.npz             <model>/<length>/input, (batch, sequence, features) = (1, length, 2) float32, and
                                     <model>/<length>/logits, (batch, classes) = (1, 2) float32
            /sources.sha256          digest of the sources; the folder is made again if it differs

perf_analyzer requests all outputs of a model, so in `logits_only` every server returns only the logits.
"""

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.scenarios import MODELS, SCENARIOS
from rnnserve.export import Lengths, Publication, publish
from rnnserve.export.classifiers import classifier_publication
from rnnserve.models import ARCHITECTURES, Architecture, Checkpoint, DirectionClassifier

_LABELS = ("counter-clockwise", "clockwise")
_SEED = 13
_MARGIN = 1e-2
"""Least difference of the two logits of a request, so that its label does not depend on rounding."""

_SOURCES = ("models", "export", "protos")


def make_models(folder: Path) -> None:
    """Write the folder unless it exists with the digest of the same sources."""
    with make_anew(folder, Path(__file__), repr(sorted(MODELS.items()))) as is_missing:
        if is_missing:
            _make(folder)


@contextlib.contextmanager
def make_anew(folder: Path, program: Path, models: str) -> Iterator[bool]:
    """Yield whether the caller must make the folder. If so, the folder is empty.

    After the block, the folder is marked as complete.

    Args:
        folder: The folder.
        program: The program that makes the folder. A change to it or to any exporting source makes the folder again.
        models: A description of the contents. A change to it makes the folder again.
    """
    digest = _digest_sources(program, models)
    stamp = folder / "sources.sha256"
    is_missing = not stamp.is_file() or stamp.read_text() != digest
    if is_missing:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        torch.set_num_threads(1)
    yield is_missing
    stamp.write_text(digest)


def _digest_sources(program: Path, models: str) -> str:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256(f"{torch.__version__} {models}".encode())
    paths = [path for source in _SOURCES for path in sorted((root / source).rglob("*.py"))]
    for path in (*paths, program):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make(folder: Path) -> None:
    answers: dict[str, np.ndarray] = {}
    stepped = {scenario.model for scenario in SCENARIOS if scenario.load.steps}
    for name, (cell, hidden) in MODELS.items():
        classifier = make_classifier(cell, hidden)
        complete = publish_classifier(name, classifier, folder / "all_outputs")
        inputs: dict[str, Any] = {"input": complete.inputs["input"], "lengths": Lengths()}
        samples = complete.samples
        logits = Publication(_Logits(classifier), name, inputs, ["logits"], samples=samples)
        publish(logits, repository=folder / "logits_only", progress=False)
        if name in stepped:
            inputs["h_0"] = complete.inputs["h_0"]
            module, states = _LogitsAndState(classifier), {"h_n": "h_0"}
            steps = Publication(module, name, inputs, ["logits", "h_n"], states=states, samples=samples, sequences=True)
            publish(steps, repository=folder / "sequences", progress=False)
        answers |= _answer_requests(name, classifier)
    for name, architecture in ARCHITECTURES.items():
        publish_classifier(name, _make_classifier(architecture), folder / "three_models")
    np.savez(folder / "answers.npz", **answers)  # type: ignore[arg-type]


class _Logits(nn.Module):
    """A classifier without states and `output`."""

    def __init__(self, classifier: DirectionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, input: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits (batch, classes) of points (batch, sequence, features) and lengths (batch,)."""
        logits: Tensor = self.classifier(input, lengths)[0]
        return logits


class _LogitsAndState(_Logits):
    """A classifier of one state without `output`."""

    def forward(self, input: Tensor, lengths: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the logits and h_n, (num_layers, batch, hidden), as h_0."""
        logits, _, h_n = self.classifier(input, lengths, h_0)
        return logits, h_n


def make_classifier(cell: str, hidden: int) -> DirectionClassifier:
    """Return a classifier in evaluation mode with weights that follow from a seed."""
    return _make_classifier(Architecture(cell=cell, hidden=hidden))


def _make_classifier(architecture: Architecture) -> DirectionClassifier:
    torch.manual_seed(_SEED)
    return DirectionClassifier.of(architecture).eval()


def publish_classifier(name: str, classifier: DirectionClassifier, repository: Path) -> Publication:
    """Publish a classifier as `rnnserve export` does and return its publication."""
    publication = classifier_publication(Checkpoint(name, classifier, _LABELS, "0" * 64, None))
    publish(publication, repository=repository, progress=False)
    return publication


def _answer_requests(name: str, classifier: DirectionClassifier) -> dict[str, np.ndarray]:
    """Draw an input of each length, 1 to 64 points. Return inputs and eager logits by their names in answers.npz."""
    generator = torch.Generator().manual_seed(_SEED)
    found: dict[str, np.ndarray] = {}
    for length in range(1, 65):
        while True:
            input = torch.rand(1, length, 2, generator=generator) * 2 - 1  # (batch, sequence, features), -1 to 1
            with torch.no_grad():
                logits = classifier(input)[0]
            if abs(float(logits[0, 0] - logits[0, 1])) > _MARGIN:
                break
        found[f"{name}/{length}/input"] = input.numpy()
        found[f"{name}/{length}/logits"] = logits.numpy()
    return found


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))
