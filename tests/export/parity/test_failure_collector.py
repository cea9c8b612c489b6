"""What a proof that fails says: everything, once, and of values that differ the worst batch."""

import numpy as np
import pytest

from rnnserve.export.parity import ParityError
from rnnserve.export.parity.failure_collector import FailureCollector

ZEROS = np.zeros((2, 3), np.float32)


def said(failures):
    with pytest.raises(ParityError) as error:
        failures.raise_if_any()
    return list(error.value.failures)


def at(index, value):
    array = ZEROS.copy()
    array[index] = value
    return array


def test_nothing_collected_is_no_error():
    failures = FailureCollector()
    failures.compare_values("check", "logits", ZEROS, ZEROS, 0.0, "batch 1")
    assert failures.compare_forms("check", "logits", ZEROS, ZEROS, "batch 1")
    failures.raise_if_any()
    assert len(failures) == 0


def test_sentences_are_kept_in_order_and_once():
    failures = FailureCollector()
    for text in ("b", "a", "b"):
        failures.add(text)
    assert len(failures) == 2
    assert said(failures) == ["b", "a"]


@pytest.mark.parametrize(("distance", "failing"), [(0.25, 0), (-0.25, 0), (0.2501, 1), (-0.2501, 1), (np.nan, 1)])
def test_a_value_may_be_as_far_as_the_limit(distance, failing):
    failures = FailureCollector()
    failures.compare_values("check", "logits", at((1, 2), distance), ZEROS, 0.25, "batch 1")
    assert len(failures) == failing


def test_the_worst_batch_is_told_with_the_number_of_the_others():
    failures = FailureCollector()
    for number, distance in enumerate([0.5, 2.0, 1.0]):
        failures.compare_values("check", "logits", at((0, number), distance), ZEROS, 0.25, f"batch {number}")
    failures.compare_values("check", "h_n", at((1, 1), -1), ZEROS, 0.25, "batch 3")
    assert said(failures) == [
        'check: "logits" at [0, 1] of batch 1: found 2, expected 0: 2 apart, 0.25 allowed (and in 2 other batches)',
        'check: "h_n" at [1, 1] of batch 3: found -1, expected 0: 1 apart, 0.25 allowed',
    ]


def test_an_equal_distance_later_does_not_replace_the_first():
    failures = FailureCollector()
    for number in range(2):
        failures.compare_values("check", "logits", at((0, number), 1), ZEROS, 0.25, f"batch {number}")
    assert "of batch 0: " in said(failures)[0]


def test_dtypes_and_shapes():
    failures = FailureCollector()
    assert failures.compare_forms("check", "logits", ZEROS.astype(float), ZEROS, "batch 1")
    assert not failures.compare_forms("check", "logits", ZEROS[0], ZEROS, "batch 1")
    assert not failures.compare_forms("check", "logits", ZEROS[0], ZEROS, "batch 2")
    assert said(failures) == [
        'check, dtypes: "logits" is float64; expected float32',
        'check, shapes: "logits" of batch 1 is (3,); expected (2, 3) (and in 1 other batches)',
    ]


def test_a_batch_that_could_not_be_run():
    failures = FailureCollector()
    for number in (1, 2):
        failures.add_refusal("onnx, step", RuntimeError("no kernel"), f"batch {number}")
    assert said(failures) == ["onnx, step: batch 1: no kernel (and in 1 other batches)"]
