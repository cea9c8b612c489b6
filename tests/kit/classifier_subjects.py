"""Fixtures of parity: classifiers of random weights with their script and ONNX model, each made once.

Both suites import them into the conftest.py of their folder `export/parity`.
"""

import dataclasses
import functools

import onnx
import pytest
import torch

from kit.descriptions import describe_classifier
from rnnserve.export import script
from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import Reference, verify_parity
from rnnserve.export.parity.verification import reference_of
from rnnserve.models import Architecture, DirectionClassifier


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier to verify. Tests change copies of its model."""

    described: DescribedModel
    script: torch.jit.ScriptModule
    model: bytes

    @classmethod
    def of(cls, classifier: DirectionClassifier) -> "Subject":
        # Rows of 3,000 steps take most of the time; the tests of extreme values have them.
        described = dataclasses.replace(describe_classifier(classifier), longest=300)
        return cls(described, script(classifier), to_onnx(described))

    @functools.cached_property
    def reference(self) -> Reference:
        """The reference for all verifications of the subject: it computes each batch once."""
        return reference_of(self.described)

    @property
    def classifier(self) -> DirectionClassifier:
        module = self.described.module.module
        assert isinstance(module, DirectionClassifier)
        return module

    def graph(self) -> onnx.ModelProto:
        """A copy of the ONNX model that a test may change."""
        return onnx.load_model_from_string(self.model)

    def verify_parity(self, model=None, *, scripted=None, seed=0):
        """Verify a changed ONNX model alone, or the subject's own model with its script."""
        if model is None:
            data, scripted = self.model, scripted or self.script
        else:
            data = model.SerializeToString()
        return verify_parity(self.described, scripted, data, seed=seed, progress=False, reference=self.reference)


@pytest.fixture(scope="session")
def subject():
    """`subject(cell="gru", …)` gives the subject of that architecture; hidden is 6 by default."""

    @functools.cache
    def make(**sizes) -> Subject:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            classifier = DirectionClassifier.of(Architecture(**{"hidden": 6} | sizes))
        return Subject.of(classifier.eval())

    return make


@pytest.fixture(scope="session")
def proven(subject):
    """`proven(cell="gru", …)` gives the parity record of that subject."""
    return functools.cache(lambda **sizes: subject(**sizes).verify_parity().parity)


@pytest.fixture(scope="session")
def chaotic() -> Subject:
    """A recurrence that doubles every difference at every step, rounding's too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        classifier = DirectionClassifier(features=3)
    with torch.no_grad():
        classifier.recurrence.weight_hh_l0 *= 8  # type: ignore[operator]
    return Subject.of(classifier.eval())
