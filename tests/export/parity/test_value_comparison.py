"""How each kind of input is judged: exact limits, labels at their edge, and when eager is run again."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from kit.told_results import LIMITS, Told, described, judged, many, rounded, shifted, sums
from rnnserve.export.parity import ParityError
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.value_comparison import ValueComparison


class Counted(Told):
    """Counts how often it is computed in float64."""

    exact_runs = 0

    def exact(self, inputs):
        self.exact_runs += 1
        return super().exact(inputs)


EIGHT = sums(*[[0.0, 0.0, 0.0]] * 8)


@pytest.mark.parametrize(
    ("change", "runs"), [(0.9e-3, 1), (1.1e-3, 5)], ids=["within the floor of eager", "beyond the floor"]
)
def test_float64_is_computed_of_what_lies_beyond_the_floor_of_eager(change, runs):
    """After the eight rows that are measured in any case."""
    told = Counted(EIGHT)
    _, comparison = many(told, lambda number: shifted(told, "steps", change if number else 0), 5, judge=False)
    assert told.exact_runs == runs
    assert comparison.distances.rows["random", "steps", 1].found_eager.count == 5 * 8 * 3


@pytest.mark.parametrize(("most_rows", "runs"), [(None, 0), (10, 0), (9, 2)])
def test_eight_rows_are_measured_at_once_where_such_a_batch_is_drawn(most_rows, runs):
    told = Counted(sums(*[[0.0, 0.0, 0.0]] * 4))
    _, comparison = many(told, lambda _: told.eager(None), 5, judge=False, most_rows=most_rows)
    assert told.exact_runs == runs
    assert comparison.distances.rows["random", "steps", 1].found_eager.count == 5 * 4 * 3


def test_what_was_not_measured_is_before_a_length_fails():
    """Eight rows lie beyond the floor, and all rows together within it."""
    told = Counted(EIGHT)
    failures, comparison = many(told, lambda number: shifted(told, "steps", 0 if number else 1.5e-3), 5)
    assert failures == []
    assert comparison.distances.rows["random", "steps", 1].found_exact.count == 5 * 8 * 3


@pytest.mark.parametrize(
    ("kind", "change", "passes"),
    [
        ("step", 0.9e-3, True),
        ("step", 1.1e-3, False),
        ("sample", 0.9e-2, True),
        ("sample", 1.1e-2, False),
        ("random", 5.0, True),
    ],
)
def test_values_have_the_limit_of_their_kind(kind, change, passes):
    told = Told(sums([0, 0, 0], [0, 0, 0]))
    failures, _ = judged(told, shifted(told, "sums", change), kind=kind, judge=False)
    assert (failures == []) == passes
    if not passes:
        limit = {"step": 0.001, "sample": 0.01}[kind]
        found = float(np.float32(change))
        assert failures == [
            f'onnx, {kind}: "sums" at [0, 0] of {kind} of batch 2, sequence 1: found {found:.9g}, expected 0: '
            f"{found:.3g} apart, {limit} allowed"
        ]


def test_a_limit_grows_with_large_values_and_with_eagers_own_rounding():
    told = Told(sums([32, 0, 0]))
    assert judged(told, shifted(told, "sums", 1.9e-3), kind="step", judge=False)[0] == []
    assert judged(told, shifted(told, "sums", 2.1e-3), kind="step", judge=False)[0] != []
    exact = sums([0, 0, 0])
    told = Told(exact, rounded(exact) | {"sums": np.full((1, 3), 1e-3, np.float32)})
    assert judged(told, shifted(told, "sums", 4.9e-3), kind="step", judge=False)[0] == []
    assert judged(told, shifted(told, "sums", 5.1e-3), kind="step", judge=False)[0] != []


def test_booleans_differ_or_are_equal():
    told = Told(sums([1, 0, 0], [1, 0, 0]))
    found = told.eager(None) | {"flags": np.array([[True], [False]])}
    failures, _ = judged(told, found, kind="step", judge=False)
    assert failures == [
        'onnx, step, integers: "flags" at [1, 0] of step of batch 2, sequence 1: found 0, expected 1: 1 apart, '
        "0 allowed"
    ]


def test_integers_that_differ_may_be_places_of_almost_equal_values():
    told = Told(sums([1, 0, 0]) | {"flags": np.array([[3]])})
    failures, _ = judged(told, told.eager(None) | {"flags": np.array([[4]])}, kind="step", judge=False)
    assert len(failures) == 1
    assert "found 4, expected 3: 1 apart, 0 allowed. Is it a place, of argmax" in failures[0]


def test_integers_count_only_where_eager_and_float64_agree():
    exact = sums([1, 0, 0])
    told = Told(exact, rounded(exact) | {"flags": np.array([[False]])})
    assert judged(told, told.eager(None) | {"flags": np.array([[True]])}, judge=False)[0] == []


def padded(after):
    """Two rows of lengths 1 and 2, the second step of the first being `after`."""
    exact = sums([1, 0, 0], [1, 0, 0])
    steps = np.array([[[1, 0, 0], [after] * 3], [[1, 0, 0]] * 2], dtype=np.float64)
    return exact | {"steps": steps, "flags": np.array([[True, False], [True, True]])}


def test_after_a_rows_length_zeros_are_zeros():
    told = Told(padded(0))
    found = told.eager(None) | {"steps": padded(7)["steps"].astype(np.float32)}
    failures, comparison = judged(told, found, lengths=[1, 2])
    assert failures == [
        'onnx, zeros after lengths: "steps" at [0, 1, 0] of random of batch 2, sequence 2: found 7, expected 0: '
        "7 apart, 0 allowed"
    ]
    assert comparison.zeros_after_lengths == {"steps", "flags"}


def test_after_a_rows_length_anything_else_does_not_count():
    told = Told(padded(7))
    found = told.eager(None) | {"steps": padded(-9)["steps"].astype(np.float32)}
    for kind in ("step", "random"):
        failures, comparison = judged(told, found, kind=kind, lengths=[1, 2])
        assert failures == []
        assert comparison.zeros_after_lengths == {"flags"}


# With these limits, and an eager that is exact, a label is decided where the two largest are more than 0.002 apart.
@pytest.mark.parametrize(
    ("exact", "found", "wrong"),
    [
        ([0, 1, 1.0025], [0, 2, 1], True),
        ([0, 1, 1.0015], [0, 2, 1], False),
        ([0, 0, 1], [2, 0, 1], True),
        ([0, 0, 1], [0, 0.5, 1], False),
    ],
)
def test_labels_are_those_of_float64_where_these_are_decided(exact, found, wrong):
    told = Told(sums([1, 0, 0], exact))
    failures, _ = judged(told, rounded(sums([1, 0, 0], found)))
    values = [float(np.float32(value)) for value in found]
    assert [failure for failure in failures if ", labels: " in failure] == [
        f'onnx, labels: row 1 of random of batch 2, sequence 1: "sums" {values} say class '
        f"{int(np.argmax(found))}, expected {int(np.argmax(exact))} as in float64"
    ] * wrong


def test_labels_of_eager_count_too_where_other_runs_of_it_agree_with_float64():
    exact = sums([1, 0, 0])
    told = Told(exact, rounded(sums([0, 1, 0])), moved=[rounded(exact)])
    # Far enough away that eager is run again.
    failures, _ = judged(told, rounded(sums([-9, 9, -9])))
    assert [failure for failure in failures if ", labels: " in failure] == [
        f'{side}, labels: row 0 of random of batch 1, sequence 1: "sums" {values} say class 1, expected 0 as in float64'
        for side, values in (("onnx", [-9.0, 9.0, -9.0]), ("eager", [0.0, 1.0, 0.0]))
    ]


def test_labels_of_each_step_count_before_the_rows_length():
    model = dataclasses.replace(described(), labelled="steps")
    told = Told(padded(0))
    steps = padded(0)["steps"].astype(np.float32)
    for at, wrong in (((0, 1), False), ((1, 1), True)):
        found = steps.copy()
        found[at] = (0, 5, 0)
        failures, _ = judged(told, told.eager(None) | {"steps": found}, model=model, lengths=[1, 2])
        labels = [failure for failure in failures if ", labels: " in failure]
        assert [failure.split(":")[1] for failure in labels] == [" row 2 of random of batch 2, sequence 2"] * wrong


def test_one_class_has_no_label():
    told = Told({"sums": np.ones((1, 1)), "steps": np.ones((1, 1, 3)), "flags": np.ones((1, 1), bool)})
    found = told.eager(None) | {"sums": np.full((1, 1), -1, np.float32)}
    assert not any(", labels: " in failure for failure in judged(told, found)[0])


def test_what_onnxruntime_refuses_is_a_failure():
    def refuse(_):
        raise RuntimeError("onnxruntime does not run it")

    runner: Any = refuse
    told: Any = Told(sums([1, 0, 0]))
    failures = FailureCollector()
    comparison = ValueComparison(described(), told, LIMITS, failures)
    assert not comparison.refused
    inputs: Any = {"x": np.zeros((1, 1, 3), np.float32), "lengths": np.ones(1, np.int64)}
    comparison.compare(InputBatch("step", inputs, 1, 1), None, runner)
    comparison.compare(InputBatch("step", inputs, 1, 1), None, None)
    assert comparison.refused
    with pytest.raises(ParityError) as error:
        failures.raise_if_any()
    assert list(error.value.failures) == ["onnx, step: step of batch 1, sequence 1: onnxruntime does not run it"]
