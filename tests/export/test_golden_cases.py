"""Golden tests of a publication: their sizes, padding and states, and results of rows that amplify little rounding."""

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.parity.verification import reference_of
from rnnserve.export.surroundings import one_thread
from rnnserve.models import Architecture
from rnnserve.protos.golden import replay


@pytest.fixture(scope="module")
def made():
    """A classifier's reference and golden tests."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = describe_architecture(Architecture(cell="lstm", num_layers=2, hidden=5))
        reference = reference_of(model)
        return reference, make_cases(model, reference, reference.eager).cases


@pytest.fixture(scope="module")
def cases(made):
    return made[1]


def test_golden_tests_have_many_sizes(cases):
    sizes = [(case.kind, *case.inputs["input"].shape[:2]) for case in cases]
    extremes = [("random", 2, 16)] * 9  # zeros, constants, level rows, silence, tiny, loud and louder, ties, states
    assert sizes == [
        ("step", 1, 1), ("step", 2, 1), ("step", 5, 1), ("step", 8, 1),
        ("sample", 1, 2), ("sample", 2, 4), ("sample", 4, 16), ("sample", 3, 64),
        ("random", 1, 16), ("random", 2, 64), ("random", 5, 33), ("random", 4, 48), *extremes,
    ]  # fmt: skip


def test_results_are_those_of_eager_in_float32_and_float64(made):
    reference, cases = made
    for case in cases:
        with one_thread():
            eager, exact = reference.eager(case.inputs), reference.exact(case.inputs)
        assert case.eager.keys() == case.float64.keys() == {"logits", "output", "h_n", "c_n"}
        for name in eager:
            np.testing.assert_array_equal(case.eager[name], eager[name])
            np.testing.assert_array_equal(case.float64[name], exact[name])


def test_extreme_values_are_among_the_golden_tests(cases):
    extremes = [case.inputs["input"] for case in cases if case.inputs["input"].shape[:2] == (2, 16)]
    zeros, constant, *_ = extremes
    assert not zeros.any()
    assert np.ptp(constant, axis=(1, 2)).max() == 0
    largest = [np.abs(points).max() for points in extremes]
    assert max(largest) > 1000
    assert 0 < min(value for value in largest if value) < 1e-9
    assert any((points == 0).any() and points.any() for points in extremes)  # silence


def test_wrong_model_does_not_widen_its_own_limits():
    model = describe_architecture(Architecture(hidden=3))
    reference = reference_of(model)

    def wrong(inputs):
        return {name: array + np.float32(1e-3) for name, array in reference.eager(inputs).items()}

    with one_thread():
        golden = make_cases(model, reference, wrong)
        limits = replay_limits(step=golden.step, sequence=golden.sequence)[0]
        failures = replay(golden.cases, wrong, limits)
    assert limits == replay_limits()[0]
    for kind in ("step", "sample", "random"):
        assert any(f", {kind} of" in line for line in failures)
