"""Trials of a file at many sizes: which sizes are frozen, and on which inputs its values differ."""

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.diagnosis.size_trials import SizeTrials
from rnnserve.export.diagnosis.tensor_matching import MatchedFile
from rnnserve.export.parity.proof import reference_of

SIZES = {"batch": (1, 40), "sequence": (1, 64)}


class Doubled(nn.Module):
    def forward(self, x, lengths):
        return x * 2, lengths * 2


def described(sizes):
    inputs = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}
    model = describe_model(Publication(Doubled(), "doubled", inputs, ["y", "twice"], sizes=SIZES))
    return dataclasses.replace(model, sizes=SIZES | sizes)


def right(inputs):
    return {"y": inputs["x"] * 2, "twice": inputs["lengths"] * 2}


def trials(change=lambda _, outputs: outputs, *, given=("x", "lengths"), fixed=None, **sizes):
    """Trials of a file that gives the right outputs, changed."""
    model = described(sizes)
    matched = MatchedFile(onnx.ModelProto(), list(given), ["y", "twice"], fixed or {}, [], [])
    runner: Any = lambda inputs: change(inputs, right(inputs))  # noqa: E731
    return SizeTrials(model, reference_of(model), matched, runner)


def only(axis, accepted):
    """A file that runs with some sizes only."""

    def change(inputs, outputs):
        size = inputs["x"].shape[("batch", "sequence").index(axis)]
        if size not in accepted:
            raise RuntimeError(f"no {size}")
        return outputs

    return change


def right_at(axis, accepted):
    """A file whose values are right with some sizes only."""

    def change(inputs, outputs):
        wrong = inputs["x"].shape[("batch", "sequence").index(axis)] not in accepted
        return outputs | {"y": outputs["y"] + np.float32(wrong)}

    return change


def test_a_right_file_has_no_faults_and_no_inputs_on_which_it_differs():
    tried = trials()
    assert list(tried.faults()) == []
    assert tried.failing is None


def test_a_file_of_one_size_is_not_frozen():
    assert list(trials(batch=(3, 3), sequence=(2, 2)).faults()) == []


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (only("batch", {3}), ['frozen batch: it runs only with "batch" 3; at 2, no 2']),
        (only("sequence", {7}), ['frozen length: it runs only with "sequence" 7; at 5, no 5']),
        (only("batch", {3, 4}), ['it does not run with "batch" 1, 2, 5, 8, 16, 32']),
        (only("sequence", range(5, 65)), ['it does not run with "sequence" 2, 3, 4']),
        (only("batch", ()), ["it runs at no size that was tried"]),
        (right_at("sequence", range(1, 6)), ['its values are right only with "sequence" 1 to 5, not with 6']),
        (right_at("sequence", {5}), ['frozen length: its values are right only with "sequence" 5, not with 1']),
        (right_at("batch", {33}), ['frozen batch: its values are right only with "batch" 33, not with 1']),
        # Many wrong recurrences are right for one step.
        (right_at("sequence", {1}), []),
        (right_at("sequence", ()), []),
        (
            lambda given, outputs: right_at("sequence", {2, 3})(given, only("sequence", range(1, 6))(given, outputs)),
            ['right only with "sequence" 2 to 3, not with 1', 'it does not run with "sequence" 6, 7, 8, 10'],
        ),
    ],
)
def test_sizes_that_a_file_does_not_take_are_faults(change, phrases):
    faults = list(trials(change).faults())
    assert len(faults) == len(phrases)
    assert all(phrase in fault for phrase, fault in zip(phrases, faults, strict=True)), faults


@pytest.mark.parametrize(
    ("accepted", "failing"),
    [((), (3, 8)), (range(1, 6), (3, 8)), (range(5, 65), (3, 4)), ({*range(1, 65)} - {10}, (3, 10))],
)
def test_values_differ_on_inputs_that_are_short_where_there_are_such(accepted, failing):
    tried = trials(right_at("sequence", accepted))
    list(tried.faults())
    assert tried.failing["x"].shape[:2] == failing


def test_an_axis_that_the_file_fixes_is_not_tried():
    tried = trials(right_at("batch", {2}), fixed={"batch": 2})
    assert list(tried.faults()) == []
    assert tried.failing is None


def test_lengths_that_the_file_ignores_are_found_by_rows_of_different_lengths():
    tried = trials(
        lambda inputs, outputs: outputs | {"twice": np.full_like(outputs["twice"], 2 * inputs["x"].shape[1])}
    )
    assert list(tried.faults()) == []
    lengths = tried.failing["lengths"]
    assert lengths[0] == 5
    assert (np.diff(lengths) <= 0).all()
    assert lengths[-1] < 5


def test_values_after_the_lengths_do_not_count():
    def change(inputs, outputs):
        after = np.arange(inputs["x"].shape[1]) >= inputs["lengths"][:, None]
        return outputs | {"y": np.where(after[..., None], np.float32(9), outputs["y"])}

    tried = trials(change)
    assert list(tried.faults()) == []
    assert tried.failing is None


def test_inputs_that_the_file_does_not_have_are_full_lengths_and_zeros():
    seen = []
    tried = trials(lambda inputs, outputs: seen.append(inputs) or outputs, given=("x",))
    assert list(tried.faults()) == []
    assert all((inputs["lengths"] == inputs["x"].shape[1]).all() for inputs in seen)


@pytest.mark.parametrize(("change", "agrees"), [(1.9e-5, True), (2.1e-5, False), (np.nan, False)])
def test_rounding_is_no_difference(change, agrees):
    def shifted(inputs, outputs):
        return outputs | {"y": (outputs["y"].astype(np.float64) + change)}

    tried = trials(shifted)
    list(tried.faults())
    assert (tried.failing is None) == agrees


def test_integers_are_equal_or_wrong():
    tried = trials(lambda _, outputs: outputs | {"twice": outputs["twice"] + 1e-6})
    list(tried.faults())
    assert tried.failing is not None


def test_another_shape_is_wrong():
    tried = trials(lambda _, outputs: outputs | {"y": outputs["y"][:, :1]})
    list(tried.faults())
    assert tried.failing["x"].shape[1] > 1


def test_outputs_that_the_file_does_not_give_are_not_compared():
    tried = trials(lambda _, outputs: {"twice": outputs["twice"]})
    assert list(tried.faults()) == []
    assert tried.failing is None
