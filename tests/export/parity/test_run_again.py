"""When eager is run again on moved inputs, when with moved weights, and what is said of long rows."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from kit.told_results import LIMITS, Told, described, judged, many, rounded, shifted, sums
from rnnserve.export.parity import ParityError
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.reference import MOVED
from rnnserve.export.parity.value_comparison import ValueComparison


def test_eager_that_is_exact_by_luck_is_run_again_on_moved_inputs():
    exact = sums([0, 0, 0])
    told = Told(exact, moved=[rounded(exact | {"sums": exact["sums"] + 5e-3})])
    assert judged(told, shifted(told, "sums", 5e-3))[0] == []
    assert told.runs == 1
    told = Told(exact)
    failures, _ = judged(told, shifted(told, "sums", 5e-3))
    assert failures == [
        'onnx, random: "sums" at sequence 1: found 0.005 from float64 (root mean square), expected about eager\'s 0: '
        "0.001 allowed"
    ]


@pytest.mark.parametrize(
    ("kind", "inputs_move", "passes"),
    [
        ("tiny", True, True),
        ("zeros", False, True),
        ("random", False, True),  # ids
        ("random", True, False),
        ("step", False, False),
    ],
)
def test_weights_are_moved_where_moved_inputs_do_not_tell_what_rounding_does(kind, inputs_move, passes):
    exact = sums([0, 0, 0])
    moved = rounded(exact | {"sums": exact["sums"] + 5e-3})
    little = rounded(exact | {"sums": exact["sums"] + 1e-6 * inputs_move})
    told = Told(exact, moved=[little], moved_weights=[moved])
    assert (judged(told, shifted(told, "sums", 5e-3), kind=kind)[0] == []) == passes
    assert judged(told, shifted(told, "sums", 5e-2), kind=kind)[0]  # which no rounding explains


@pytest.mark.parametrize(
    ("kinds", "away", "said"),
    [
        (["long"], 9e-3, True),
        (["long"], 1.1e-2, False),  # more than ten times what is allowed: no rounding
        (["long", "random"], 9e-3, False),
        (["zeros"], 9e-3, False),
    ],
)
def test_what_differs_by_rounding_in_long_rows_only_is_said_to(kinds, away, said):
    told: Any = Told(sums([0, 0, 0]))  # typed as a reference
    failures = FailureCollector()
    comparison = ValueComparison(dataclasses.replace(described(), labels=[], labelled=""), told, LIMITS, failures)
    inputs: dict[str, Any] = {"x": np.zeros((1, 1, 3), np.float32), "lengths": np.ones(1, np.int64)}
    runner: Any = lambda _: shifted(told, "sums", away)  # noqa: E731 - typed as a runner
    for number, kind in enumerate(kinds):
        comparison.compare(InputBatch(kind, inputs, 1, 1000 + number), None, runner)
    comparison.judge()
    with pytest.raises(ParityError) as caught:
        failures.raise_if_any()
    assert len(caught.value.failures) == len(kinds) + said
    assert caught.value.failures[-1].startswith("Only long rows differ, from 1,000 steps on") == said


def test_eager_is_not_run_again_where_it_agrees_or_where_something_is_wrong_already():
    exact = sums([1, 0, 0])
    told = Told(exact, moved=[rounded(exact | {"sums": exact["sums"] + 5e-3})])
    assert judged(told, told.eager(None))[0] == []
    assert told.runs == 0
    found = shifted(told, "sums", 5e-3) | {"flags": np.array([[False]])}
    failures, _ = judged(told, found)
    assert [failure.partition(":")[0] for failure in failures] == ["onnx, random, integers", "onnx, random"]
    assert told.runs == 0


def test_without_float64_moved_inputs_are_all_there_is_to_judge_by():
    exact = sums([1, 0, 0])
    told = Told(exact, moved=[rounded(exact | {"sums": exact["sums"] + 5e-3})], exact_by=MOVED)
    assert judged(told, told.eager(None))[0] == []
    assert told.runs == 1


@pytest.mark.parametrize(("large_from", "runs"), [(0, 1), (1, 1), (2, 2), (7, 2)])
def test_it_is_moved_twice_and_more_often_where_that_does_not_tell(large_from, runs):
    exact = sums([0, 0, 0])
    little, much = (rounded(exact | {"sums": exact["sums"] + by}) for by in (1e-6, 2e-2))
    told = Told(exact, moved=[much if number == large_from else little for number in range(8)])
    assert judged(told, shifted(told, "sums", 1e-2))[0] == []
    assert told.runs == runs
    told = Told(exact, moved=[little] * 8)
    assert judged(told, shifted(told, "sums", 1e-2))[0]
    assert told.runs == 2


@pytest.mark.parametrize(("away", "runs"), [(0.0, 1), (1e-2, 3)])
def test_without_float64_some_rows_are_moved_of_what_passes_and_all_of_what_may_not(away, runs):
    exact = sums(*[[0, 0, 0]] * 8)
    told = Told(exact, moved=[rounded(exact | {"sums": exact["sums"] + 2e-2})] * 2, exact_by=MOVED)
    assert many(told, lambda _: shifted(told, "sums", away), 3)[0] == []
    assert told.runs == runs
