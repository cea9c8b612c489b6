"""The golden cases that are made: their sizes, their padding, and rows on which rounding remains small."""

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture, describe_classifier
from kit.own_modules import PUBLICATIONS, own_module
from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.torch_threads import one_thread
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos.golden import dump_cases, replay

EXTREMES_OF_FLOATS = [("random", 2, 16)] * 9
"""Zeros, constants, level rows, silence, tiny, loud and louder values, ties, states."""


def usual(cases):
    """The cases but those of extreme values, which come after four drawn ones."""
    first = [case.kind for case in cases].index("random")
    return cases[: first + 4]


def make(architecture, *, factor=1.0, seed=0, rows_apart=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        classifier = DirectionClassifier.of(architecture).eval()
    with torch.no_grad():
        classifier.recurrence.weight_hh_l0 *= factor
    with one_thread():
        model = describe_classifier(classifier)
        reference = reference_of(model)
        return reference, make_cases(model, reference, reference.eager, seed=seed, rows_apart=rows_apart).cases


@pytest.fixture(scope="module")
def lstm():
    return make(Architecture(cell="lstm", num_layers=2, features=3, hidden=5))


def test_the_sizes_of_all_cases(lstm):
    sizes = [(case.kind, *case.inputs["input"].shape[:2]) for case in lstm[1]]
    assert sizes == [
        ("step", 1, 1), ("step", 2, 1), ("step", 5, 1), ("step", 8, 1),
        ("random", 1, 16), ("random", 2, 64), ("random", 5, 33), ("random", 4, 48), *EXTREMES_OF_FLOATS,
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [1, 20])
def test_rows_that_may_share_a_run_are_chosen_as_others_are(factor):
    architecture = Architecture(cell="gru", features=3, hidden=5)
    _, alone = make(architecture, factor=factor)
    _, together = make(architecture, factor=factor, rows_apart=True)
    assert dump_cases(together) == dump_cases(alone)


def test_the_sizes_of_a_classifiers_cases():
    sizes = [(case.kind, *case.inputs["input"].shape[:2]) for case in make(Architecture(hidden=3))[1]]
    assert sizes == [
        ("step", 1, 1), ("step", 2, 1), ("step", 5, 1), ("step", 8, 1),
        ("sample", 1, 2), ("sample", 2, 4), ("sample", 4, 16), ("sample", 3, 64),
        ("random", 1, 16), ("random", 2, 64), ("random", 5, 33), ("random", 4, 48), *EXTREMES_OF_FLOATS,
    ]  # fmt: skip


def test_rows_are_ragged_and_one_of_them_is_as_long_as_the_case(lstm):
    for case in usual(lstm[1]):
        if case.kind == "random" and len(case.inputs["lengths"]) > 1:
            assert len(set(case.inputs["lengths"].tolist())) > 1
            assert case.inputs["lengths"].max() == case.inputs["input"].shape[1]


def test_several_axes_have_sizes_unlike_each_other_and_rows_are_full_where_lengths_are_missing():
    kind, describe = PUBLICATIONS["seq2seq"]
    with one_thread():
        model = describe_model(describe(own_module(kind)))
        reference = reference_of(model)
        cases = make_cases(model, reference, reference.eager).cases
    sizes = [(*case.inputs["source"].shape[:2], case.inputs["target"].shape[1]) for case in usual(cases)]
    assert sizes == [(1, 1, 1), (2, 1, 1), (5, 1, 1), (8, 1, 1), (1, 16, 19), (2, 64, 70), (5, 33, 42), (4, 48, 60)]
    for case in cases:
        assert (case.inputs["source_lengths"] == case.inputs["source"].shape[1]).all()


class OneCalmRow:
    """Float64 is a classifier's; eager's logits lie far away in all rows but the first."""

    def __init__(self, reference):
        self._reference = reference
        self.exact_by, self.exact, self.moved = reference.exact_by, reference.exact, reference.moved

    def eager(self, inputs):
        outputs = self._reference.eager(inputs)
        outputs["logits"][1:] += 1
        return outputs


def test_one_calm_row_of_a_length_is_enough_to_keep_it():
    model = describe_architecture(Architecture(cell="lstm", num_layers=2, features=3, hidden=5))
    with one_thread():
        reference = OneCalmRow(reference_of(model))
        cases = make_cases(model, reference, reference.eager).cases
    sizes = [case.inputs["input"].shape[:2] for case in usual(cases) if case.kind == "random"]
    assert sizes[:4] == [(1, 16), (2, 64), (5, 33), (4, 48)]


def test_inputs_are_zero_after_each_rows_length(lstm):
    for case in usual(lstm[1]):
        points, lengths = case.inputs["input"], case.inputs["lengths"]
        padding = np.arange(points.shape[1]) >= lengths[:, None]
        assert not points[padding].any()
        assert points[~padding].any(axis=1).all()
        assert lengths.min() >= 1
        assert lengths.max() <= points.shape[1]


def test_states_are_zeros_for_walks_and_anything_else_otherwise():
    for case in make(Architecture(cell="lstm", num_layers=2, hidden=5))[1]:
        for name in ("h_0", "c_0"):
            state = case.inputs[name]
            assert state.shape == (2, len(case.inputs["lengths"]), 5)
            assert state.dtype == np.float32
            assert (np.abs(state) <= 1).all()
            assert state.any() == (case.kind != "sample")


def test_results_are_eagers_in_float32_and_in_float64(lstm):
    reference, cases = lstm
    for case in cases:
        with one_thread():
            eager, exact = reference.eager(case.inputs), reference.exact(case.inputs)
        assert case.eager.keys() == case.float64.keys() == {"logits", "output", "h_n", "c_n"}
        for name in eager:
            np.testing.assert_array_equal(case.eager[name], eager[name])
            np.testing.assert_array_equal(case.float64[name], exact[name])


def test_a_seed_gives_the_same_cases_and_another_one_others():
    first, again, other = (make(Architecture(hidden=3), seed=seed)[1] for seed in (1, 1, 2))
    for case, same in zip(first, again, strict=True):
        for name in case.inputs:
            np.testing.assert_array_equal(case.inputs[name], same.inputs[name])
    for case, different in zip(usual(first), usual(other), strict=True):
        if case.kind != "sample":  # given ones are the same
            assert not np.array_equal(case.inputs["input"], different.inputs["input"])


def test_a_recurrence_that_amplifies_rounding_gets_shorter_rows_and_its_cases_hold():
    """Eight times the recurrent weights double every difference at every step."""
    architecture = Architecture(hidden=16)
    reference, wild = make(architecture, factor=8)
    longest = [int(case.inputs["lengths"].max()) for case in usual(wild)]
    calm = [int(case.inputs["lengths"].max()) for case in usual(make(architecture)[1])]
    assert all(short <= usual for short, usual in zip(longest, calm, strict=True))
    assert sum(longest) < sum(calm)
    with one_thread():
        assert replay(wild, reference.eager, replay_limits()[0]) == []


def test_a_wrong_model_does_not_widen_the_limits_that_it_is_judged_by():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = describe_classifier(DirectionClassifier.of(Architecture(hidden=3)).eval())
    reference = reference_of(model)

    def wrong(inputs):
        return {name: array + np.float32(1e-3) for name, array in reference.eager(inputs).items()}

    with one_thread():
        golden = make_cases(model, reference, wrong)
        limits = replay_limits(step=golden.step, sequence=golden.sequence)[0]
        failures = replay(golden.cases, wrong, limits)
    assert limits == replay_limits()[0]
    assert {kind for kind in ("step", "sample", "random") if any(f", {kind} of" in line for line in failures)} == {
        "step", "sample", "random",
    }  # fmt: skip


def test_extreme_values_are_among_the_cases_where_results_are_usual(lstm):
    extremes = [case.inputs["input"] for case in lstm[1] if case.inputs["input"].shape[:2] == (2, 16)]
    zeros, constant, *_ = extremes
    assert not zeros.any()
    assert np.ptp(constant, axis=(1, 2)).max() == 0
    largest = [np.abs(points).max() for points in extremes]
    assert max(largest) > 1000
    assert 0 < min(value for value in largest if value) < 1e-9
    assert any((points == 0).any() and points.any() for points in extremes)  # silence


class Choosy:
    """A classifier's results, but for values beyond a number it raises, as a table may."""

    def __init__(self, reference, most):
        self._reference, self._most = reference, most
        self.exact_by = reference.exact_by

    def _checked(self, inputs):
        if np.abs(inputs["input"]).max() > self._most:
            raise ValueError
        return inputs

    def eager(self, inputs):
        return self._reference.eager(self._checked(inputs))

    def exact(self, inputs):
        return self._reference.exact(self._checked(inputs))

    def moved(self, inputs):
        return self._reference.moved(self._checked(inputs))


@pytest.mark.parametrize("rows_apart", [False, True])
def test_values_for_which_the_module_raises_leave_the_others(rows_apart):
    model = describe_architecture(Architecture(cell="lstm", num_layers=2, features=3, hidden=5))
    with one_thread():
        reference = reference_of(model)
        every = make_cases(model, reference, reference.eager, rows_apart=rows_apart).cases
        some = make_cases(model, Choosy(reference, 900), reference.eager, rows_apart=rows_apart).cases
    sizes = [case.inputs["input"].shape[:2] for case in (*usual(every), *usual(some))]
    assert sizes[: len(sizes) // 2] == sizes[len(sizes) // 2 :]
    assert len(some) == len(every) - 1  # the louder ones
    assert max(np.abs(case.inputs["input"]).max() for case in some) <= 900


class Logarithm(torch.nn.Module):
    """Not finite for zeros; large for no value."""

    def forward(self, x):
        return x.log()


def test_cases_are_finite():
    described = Publication(
        Logarithm(), "logarithm", {"x": Floats("batch", "sequence", ("features", 2))}, ["y"], allow_non_finite=True,
        samples=[{"x": np.ones((2, 3, 2), np.float32)}],
    )  # fmt: skip
    with one_thread():
        model = describe_model(described)
        reference = reference_of(model)
        cases = make_cases(model, reference, reference.eager).cases
    extremes = [case for case in cases if case.inputs["x"].shape[:2] == (2, 16)]
    assert all(np.isfinite(case.eager["y"]).all() for case in extremes)
    with one_thread():
        assert replay(cases, reference.eager, replay_limits()[0]) == []  # NaN of usual values is NaN again

        def finite(inputs):
            return {name: np.nan_to_num(array) for name, array in reference.eager(inputs).items()}

        assert replay(cases, finite, replay_limits()[0])
