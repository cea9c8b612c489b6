"""Replays of golden results: results that are near enough pass, and one wrong number fails."""

import re

import numpy as np
import pytest

from kit.running_means import LIMITS, rounded
from rnnserve.protos.golden import Case, replay


def test_other_rounding_passes(cases):
    assert replay(cases, lambda inputs: rounded(inputs, seed=1), LIMITS) == []


def altered(cases, number, change):
    """Make a run that returns eager's results, except for one case, whose results it changes in place."""
    answers = iter(range(len(cases)))

    def run(inputs):
        at = next(answers)
        results = {name: array.copy() for name, array in cases[at].eager.items()}
        return change(results) or results if at == number else results

    return run


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("tensor", "batch_axis"), [("logits", 0), ("output", 0), ("h_n", 1)])
def test_wrong_number_or_swapped_rows_are_detected_and_named(cases, number, tensor, batch_axis):
    at = tuple(size // 2 for size in cases[number].eager[tensor].shape)
    for wrong in (1e-3, -1e-3, np.nan, np.inf):

        def change(results, wrong=wrong):
            results[tensor][at] += np.float32(wrong)

        first = replay(cases, altered(cases, number, change), LIMITS)[0]
        assert first.startswith(f'case {number}, {cases[number]}: "{tensor}" at {[int(i) for i in at]} is ')
        assert "allowed" in first

    def swap(results):
        results[tensor] = np.roll(results[tensor], 1, batch_axis)

    failures = replay(cases, altered(cases, number, swap), LIMITS)
    assert any(failure.startswith(f'case {number}, {cases[number]}: "{tensor}" at ') for failure in failures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {n: a for n, a in r.items() if n != "h_n"}, 'no output "h_n"; the outputs are logits, output'),
        (lambda r: {**r, "h_n": r["h_n"][0]}, r'"h_n" has shape \[5, 3\]; eager returned \[1, 5, 3\]'),
        (lambda r: {**r, "h_n": r["h_n"].astype(float)}, '"h_n" is float64; eager returned float32'),
        (lambda r: {**r, "c_n": r["h_n"]}, 'the output "c_n" does not exist in eager'),
    ],
)
def test_other_names_shapes_and_datatypes_are_refused(cases, change, message):
    (failure,) = replay(cases, altered(cases, 1, change), LIMITS)
    assert failure.startswith('case 1, walk of "input" [5, 9, 2]: ')
    assert re.search(message, failure)


def test_all_failures_are_reported(cases):
    def run(inputs):
        return {name: array + np.float32(0.1) for name, array in rounded(inputs).items()}

    failures = replay(cases, run, LIMITS)
    # Each of three tensors in each of four cases, and the two rules over all random ones.
    assert len(failures) == 3 * 4 + 3
    assert failures[-1].startswith('random sequences: "h_n" is 0.1 from float64 (root mean square), eager ')


def test_integers_and_booleans_must_be_equal():
    inputs = {"x": np.ones((2, 3), np.float32)}
    results = {"tags": np.array([1, 2]), "flags": np.array([True, False])}
    case = Case("sample", inputs, results, results)
    assert replay([case], lambda _: results, LIMITS) == []
    (failure,) = replay([case], lambda _: {**results, "tags": np.array([1, 3])}, LIMITS)
    assert failure.startswith('case 0, sample of "x" [2, 3]: "tags" at [1] is 3, eager returned 2')
    (failure,) = replay([case], lambda _: {**results, "flags": np.array([True, True])}, LIMITS)
    assert '"flags" at [1] is 1, eager returned 0' in failure
