import re

import numpy as np
import pytest

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.client.input_checks import check_features, check_sequences, check_state


def model(features=2, layers=2, hidden=3, **inputs):
    tensors = {
        "input": TensorMetadata("input", "FP32", (-1, -1, features)),
        "h_0": TensorMetadata("h_0", "FP32", (layers, -1, hidden)),
        **inputs,
    }
    return ModelMetadata("m", ("1",), "", tensors, {"logits": TensorMetadata("logits", "FP32", (-1, 2))})


TWO = [np.zeros((4, 2)), np.zeros((3, 2))]


@pytest.mark.parametrize(
    "sequences",
    [
        TWO,
        tuple(TWO),
        [array.tolist() for array in TWO],
        [array.astype(np.int16) for array in TWO],
        np.zeros((2, 4, 2)),
        (array for array in TWO),
        [],
    ],
)
def test_what_counts_as_sequences(sequences):
    assert all(array.ndim == 2 and array.shape[1] == 2 for array in check_sequences(sequences))


@pytest.mark.parametrize(
    ("sequences", "lesson"),
    [
        (np.zeros((4, 2)), "one array of shape (4, 2). Expected (batch, sequence, features).*pass [sequence]"),
        (np.zeros(4), "one array of shape (4,). Expected (batch, sequence, features)"),
        (np.zeros((1, 1, 4, 2)), "one array of shape (1, 1, 4, 2)"),
        (np.array([*TWO, None], dtype=object)[:2], "array of objects, shape (2,).*go into a list"),
        ([TWO[0], np.zeros(4)], "sequence 1 has shape (4,). Expected (length, features).*reshape(-1, 1)"),
        ([np.zeros((1, 4, 2))], "sequence 0 has shape (1, 4, 2).*batch axis of its own"),
        ([0.5, 0.25], "sequence 0 has shape (). Expected (length, features).*single number: pass a list"),
        ([TWO[0], np.zeros((0, 2))], "sequence 1 has shape (0, 2) and is empty"),
        ([np.zeros((4, 0))], "sequence 0 has shape (4, 0) and is empty"),
        ([[[0, 1], [2]]], "sequence 0 is ragged"),
        ([np.array([[0, 1], [2]], dtype=object)], "sequence 0 is an array of objects"),
        ([np.zeros((4, 2), complex)], "sequence 0 has dtype complex128. Expected real numbers"),
        ([[["a", "b"]]], "sequence 0 has dtype <U1"),
        ([TWO[0], np.zeros((4, 3))], "sequence 1 has shape (4, 3), 3 features, but sequence 0 has 2"),
        ("walks.json", "sequences is a str. Expected a list"),
        (5, "sequences is a int. Expected a list"),
    ],
)
def test_other_shapes_are_refused_with_a_lesson(sequences, lesson):
    with pytest.raises(InvalidRequest, match=pattern(lesson)):
        check_sequences(sequences)


@pytest.mark.parametrize(
    ("array", "metadata", "lesson"),
    [
        (np.zeros((4, 5)), model(), "sequence 0 has shape (4, 5), but model m takes (length, features=2)"),
        (np.zeros((2, 5)), model(), "It looks like (features, length): transpose it"),
        (
            np.zeros((4, 2)),
            ModelMetadata("m", (), "", {}, {}),
            "takes nothing and returns nothing.*infer() accepts any",
        ),
    ],
)
def test_features_are_compared_with_the_models(array, metadata, lesson):
    check_features([np.zeros((4, 2))], model())
    check_features([array], model(features=-1))
    with pytest.raises(InvalidRequest, match=pattern(lesson)):
        check_features([array], metadata)


def test_states_come_in_pytorchs_order_whether_one_array_or_one_for_each():
    whole = np.arange(2 * 2 * 3.0).reshape(2, 2, 3)  # (layers, batch, hidden)
    rows = [whole[:, 0], whole[:, 1]]
    for state in (whole, rows, tuple(rows), [row.tolist() for row in rows]):
        found = check_state("h_0", state, 2, model())
        np.testing.assert_array_equal(found, whole)
        assert found.dtype == np.float32


class Tensor:
    """An array of another library: it can be iterated over, and numpy can read it."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __iter__(self):
        return map(Tensor, self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_tensors_of_other_libraries_are_arrays():
    state = np.arange(2 * 2 * 3.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(check_state("h_0", Tensor(state), 2, model()), state)
    assert [array.shape for array in check_sequences(Tensor(np.zeros((3, 4, 2))))] == [(4, 2)] * 3
    assert [array.shape for array in check_sequences([Tensor(np.zeros((4, 2)))])] == [(4, 2)]
    with pytest.raises(InvalidRequest, match=pattern("pass [sequence]")):
        check_sequences(Tensor(np.zeros((4, 2))))


def test_numbers_beyond_the_models_dtype_become_infinite_without_a_warning():
    assert np.isinf(check_state("h_0", np.full((2, 1, 3), 1e300), 1, model())).all()


@pytest.mark.parametrize("metadata", [model(), model(layers=-1, hidden=-1)])
def test_none_stands_for_the_zeros_of_a_new_sequence(metadata):
    found = check_state("h_0", [None, np.ones((2, 3))], 2, metadata)
    np.testing.assert_array_equal(found, np.stack([np.zeros((2, 3)), np.ones((2, 3))], axis=1))


@pytest.mark.parametrize(
    ("state", "lesson"),
    [
        (
            np.zeros((5, 2, 3)),
            "h_0 has shape (5, 2, 3). Expected (layers * directions=2, batch=5, hidden=3).*batch-first",
        ),
        (np.zeros((2, 3)), "h_0 has shape (2, 3).*the state of a single sequence: pass a list"),
        (np.zeros((2, 4, 3)), "Expected (layers * directions=2, batch=5, hidden=3)"),
        (np.zeros((2, 5, 4)), "Expected (layers * directions=2, batch=5, hidden=3)"),
        ([np.zeros((2, 3))], "h_0 is a list of 1 states for 5 sequences"),
        (
            [np.zeros((2, 3))] * 4 + [np.zeros((3, 2))],
            "h_0[4] has shape (3, 2). Expected (layers * directions=2, hidden=3)",
        ),
        ([np.zeros(3)] * 5, "h_0[0] has shape (3,)"),
        ([[[1, 2], [3]]] * 5, "h_0[0] is ragged"),
        (np.full((2, 5, 3), "x"), "h_0 has dtype <U1"),
        (0.0, "h_0 is a float. Expected a list"),
    ],
)
def test_other_states_are_refused_with_a_lesson(state, lesson):
    with pytest.raises(InvalidRequest, match=pattern(lesson)):
        check_state("h_0", state, 5, model())


def test_states_of_unlike_shapes_are_refused_where_the_server_does_not_say():
    with pytest.raises(InvalidRequest, match="different shapes"):
        check_state("h_0", [np.zeros((2, 3)), np.zeros((1, 3))], 2, model(layers=-1))
    with pytest.raises(InvalidRequest, match="None cannot stand for zeros"):
        check_state("h_0", [None], 1, model(layers=-1))


def test_a_state_that_the_model_does_not_take_is_refused():
    with pytest.raises(InvalidRequest, match="model m takes no c_0: its inputs are input, h_0"):
        check_state("c_0", np.zeros((2, 1, 3)), 1, model())


def pattern(lesson):
    """A literal text in which only `.*` is not."""
    return ".*".join(map(re.escape, lesson.split(".*")))
