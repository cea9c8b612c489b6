"""How far rounding moves a row: which runs are samples of it, and which outputs count."""

import numpy as np
import pytest

from kit.descriptions import tensors_described
from rnnserve.export.description.publication import Floats, Integers, Lengths
from rnnserve.export.golden_cases import Rounding
from rnnserve.export.parity.reference import FLOAT64, MOVED

MODEL = tensors_described(
    {"x": Floats("batch", "sequence"), "lengths": Lengths()},
    {"y": Floats("sequence", "batch"), "tags": Integers("batch", high=99)},
)

INPUTS = {"x": np.full((2, 3), 0.5, np.float32), "lengths": np.array([1, 3])}


def outputs(x):
    return {"y": x.T, "tags": np.round(x[:, 0] * 2).astype(np.int64)}


class Told:
    """Float64 is the inputs. Eager lies `eager` away in the second row."""

    def __init__(self, eager=0.0, exact_by=FLOAT64, moves=()):
        self.exact_by = exact_by
        self.seen = []
        self._eager, self._moves = eager, moves

    def exact(self, inputs):
        self.seen.append(inputs["x"])
        return outputs(inputs["x"].astype(np.float64))

    def eager(self, inputs):
        return outputs(shifted(inputs["x"], self._eager))

    def moved(self, inputs):
        yield from (outputs(shifted(inputs["x"], move)) for move in self._moves)


def shifted(x, change, at=(1, 1)):
    x = x.copy()
    x[at] += np.float32(change)
    return x


def rounding_of(told, run=lambda inputs: outputs(inputs["x"]), *, rows_apart=False):
    return Rounding(MODEL, told, run, np.random.default_rng(0), rows_apart=rows_apart)


def measure(told, run=lambda inputs: outputs(inputs["x"])):
    return rounding_of(told, run).distances(INPUTS)[0]


def test_float64_on_moved_inputs_gives_four_samples():
    told = Told()
    distances = measure(told)
    given, *moved = told.seen
    assert given.dtype == np.float32
    assert len(moved) == 4
    step = 2.0**-23
    for x in moved:
        assert x.dtype == np.float64
        assert 0 < np.abs(x - 0.5).max() <= step
    expected = np.max([np.abs(x - 0.5) for x in moved], axis=0)
    np.testing.assert_allclose(distances, [expected[0, 0], expected[1].max()], rtol=1e-6)


def test_moved_copies_share_a_call_when_rows_are_apart():
    told = Told()
    distances = rounding_of(told, rows_apart=True).distances(INPUTS)[0]
    np.testing.assert_array_equal(distances, measure(Told()))
    assert [len(x) for x in told.seen] == [2, 8]


def test_eager_and_the_model_are_samples_by_row():
    assert measure(Told(eager=0.125))[1] == 0.125
    assert measure(Told(), lambda inputs: outputs(shifted(inputs["x"], -0.25)))[1] == 0.25
    assert measure(Told(eager=0.125))[0] < 1e-6


def test_values_after_a_rows_length_do_not_count():
    told = Told(exact_by=MOVED)
    assert measure(told, lambda inputs: outputs(shifted(inputs["x"], 9, at=(0, 1)))).tolist() == [0, 0]


def test_rows_with_undecided_integers_are_skipped_and_widen_no_limit():
    told = Told(exact_by=MOVED)
    tags = outputs(INPUTS["x"])["tags"] + np.array([0, 1])  # the second row is another one
    rounding = rounding_of(told, lambda inputs: outputs(inputs["x"]) | {"tags": tags})
    assert rounding.distances(INPUTS).tolist() == [[0, np.inf], [0, 0]]


@pytest.mark.parametrize(
    ("size", "dtype", "unit"), [(32, np.float32, 2), (0.5, np.float16, 8192), (32, np.float16, 16384)]
)
def test_rounding_is_measured_in_the_unit_of_limits(size, dtype, unit):
    x = np.full((2, 3), size, np.float32)
    away = shifted(x, 0.5).astype(dtype)
    rounding = rounding_of(Told(exact_by=MOVED), lambda _: outputs(away))
    assert rounding.distances({**INPUTS, "x": x})[0].tolist() == [0, 0.5 / unit]
