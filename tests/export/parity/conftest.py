"""Classifiers of random weights with their script and ONNX model, made once for all tests of the proof."""

import dataclasses
import functools

import onnx
import pytest
import torch

from kit.descriptions import describe_classifier
from rnnserve.export import script
from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import Reference, prove
from rnnserve.export.parity.proof import reference_of
from rnnserve.models import Architecture, DirectionClassifier


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a proof is about; tests change copies of it."""

    described: DescribedModel
    script: torch.jit.ScriptModule
    model: bytes

    @classmethod
    def of(cls, classifier: DirectionClassifier) -> "Subject":
        described = describe_classifier(classifier)
        return cls(described, script(classifier), to_onnx(described))

    @functools.cached_property
    def reference(self) -> Reference:
        """What all proofs of the subject are judged by: each batch is computed once."""
        return reference_of(self.described, keeps=True)

    @property
    def classifier(self) -> DirectionClassifier:
        assert isinstance(self.described.module, DirectionClassifier)
        return self.described.module

    def graph(self) -> onnx.ModelProto:
        """The ONNX model, to be changed."""
        return onnx.load_model_from_string(self.model)

    def prove(self, model=None, *, scripted=None, seed=0):
        data = self.model if model is None else model.SerializeToString()
        return prove(self.described, scripted or self.script, data, seed=seed, progress=False, reference=self.reference)


@pytest.fixture(scope="session")
def subject():
    """`subject(cell="gru", …)`: that architecture's subject; hidden 6, unless said."""

    @functools.cache
    def make(**sizes) -> Subject:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            classifier = DirectionClassifier.of(Architecture(**{"hidden": 6} | sizes))
        return Subject.of(classifier.eval())

    return make


@pytest.fixture(scope="session")
def proven(subject):
    """`proven(cell="gru", …)`: the record in that subject's proof."""
    return functools.cache(lambda **sizes: subject(**sizes).prove().parity)


@pytest.fixture(scope="session")
def chaotic() -> Subject:
    """A recurrence that doubles every difference at every step, rounding's too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        classifier = DirectionClassifier(features=3)
    with torch.no_grad():
        classifier.recurrence.weight_hh_l0 *= 8  # type: ignore[operator]
    return Subject.of(classifier.eval())
