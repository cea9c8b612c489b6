"""A failed parity check reports everything once, and the worst batch of values that differ."""

import numpy as np
import pytest

from rnnserve.export.parity.value_comparison import FailureCollector

ZEROS = np.zeros((2, 3), np.float32)


@pytest.fixture
def failures():
    return FailureCollector()


def said(failures):
    return failures.lines()


def at(index, value):
    array = ZEROS.copy()
    array[index] = value
    return array


def test_nothing_collected_raises_nothing(failures):
    failures.compare_values("check", "logits", ZEROS, ZEROS, 0.0, "batch 1")
    assert failures.compare_forms("check", "logits", ZEROS, ZEROS, "batch 1")
    assert failures.lines() == []
    assert len(failures) == 0


@pytest.mark.parametrize(("distance", "failing"), [(0.25, 0), (-0.25, 0), (0.2501, 1), (-0.2501, 1), (np.nan, 1)])
def test_value_may_be_as_far_as_the_limit(failures, distance, failing):
    failures.compare_values("check", "logits", at((1, 2), distance), ZEROS, 0.25, "batch 1")
    assert len(failures) == failing


def test_worst_batch_is_reported_with_the_number_of_others(failures):
    for number, distance in enumerate([0.5, 2.0, 1.0, 2.0]):
        failures.compare_values("check", "logits", at((0, 1), distance), ZEROS, 0.25, f"batch {number}")
    failures.compare_values("check", "h_n", at((1, 1), -1), ZEROS, 0.25, "batch 3")
    assert said(failures) == [
        'check: "logits" at [0, 1] of batch 1: found 2, expected 0: 2 apart, 0.25 allowed (and in 3 other batches)',
        'check: "h_n" at [1, 1] of batch 3: found -1, expected 0: 1 apart, 0.25 allowed',
    ]


def test_forms_and_refusals_are_reported_once(failures):
    assert failures.compare_forms("check", "logits", ZEROS.astype(float), ZEROS, "batch 1")
    for batch in ("batch 1", "batch 2"):
        assert not failures.compare_forms("check", "logits", ZEROS[0], ZEROS, batch)
        failures.add_difference("onnx, step", "", 0.0, f"onnx, step: {batch}: no kernel")
        failures.add("b")
    assert sorted(said(failures)) == [
        "b",
        'check, dtypes: "logits" is float64; expected float32',
        'check, shapes: "logits" of batch 1 is (3,); expected (2, 3) (and in 1 other batches)',
        "onnx, step: batch 1: no kernel (and in 1 other batches)",
    ]
