"""Golden tests of modules that amplify rounding, raise for some values, give NaN, or have several sequence axes."""

import functools

import numpy as np
import pytest
import torch

from kit.descriptions import describe_classifier
from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.parity.tolerances import limits_for, replay_limits
from rnnserve.export.parity.verification import reference_of
from rnnserve.export.surroundings import one_thread
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos.golden import replay


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@functools.cache
def classifier(cell="gru", *, factor=1.0, hidden=5):
    """A described classifier with larger recurrent weights, and its reference."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = DirectionClassifier.of(Architecture(cell=cell, features=3, hidden=hidden)).eval()
    with torch.no_grad():
        module.recurrence.weight_hh_l0 *= factor
    model = describe_classifier(module)
    return model, reference_of(model)


def cases_of(model, reference, **options):
    return make_cases(model, reference, options.pop("runner", reference.eager), **options).cases


def usual(cases):
    """The golden tests before those of extreme values."""
    first = [case.kind for case in cases].index("random")
    return cases[: first + 4]


def test_recurrence_that_amplifies_rounding_gets_shorter_golden_rows():
    """Eight times the recurrent weights double every difference at every step."""
    wild, calm = classifier("rnn", factor=8, hidden=16), classifier("rnn", hidden=16)
    golden = make_cases(wild[0], wild[1], wild[1].eager)
    cases = golden.cases
    longest = [int(case.inputs["lengths"].max()) for case in usual(cases)]
    expected = [int(case.inputs["lengths"].max()) for case in usual(cases_of(*calm))]
    assert all(short <= long for short, long in zip(longest, expected, strict=True))
    assert sum(longest) < sum(expected)
    assert golden.sequence < 4 * limits_for("cpu").sequence_largest
    assert replay(cases, wild[1].eager, replay_limits(step=golden.step, sequence=golden.sequence)[0]) == []


class Logarithm(torch.nn.Module):
    """Not finite for zeros and negative values."""

    def forward(self, x):
        return x.log()


def test_extreme_golden_tests_are_finite():
    inputs, sample = {"x": Floats("batch", "sequence", ("features", 2))}, {"x": np.ones((2, 3, 2), np.float32)}
    model = describe_model(
        Publication(Logarithm(), "logarithm", inputs, ["y"], allow_non_finite=True, samples=[sample])
    )
    reference = reference_of(model)
    cases = cases_of(model, reference)
    extremes = [case for case in cases if case.inputs["x"].shape[:2] == (2, 16)]
    assert all(np.isfinite(case.eager["y"]).all() for case in extremes)
    assert replay(cases, reference.eager, replay_limits()[0]) == []  # NaN of usual values is NaN again

    def finite(inputs):
        return {name: np.nan_to_num(array) for name, array in reference.eager(inputs).items()}

    assert replay(cases, finite, replay_limits()[0])
