import re

import numpy as np
import pytest

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import check_rows

TWO = [np.zeros((4, 2)), np.zeros((3, 2))]
STATE = ("layers * directions", "batch", "hidden")


def model(*inputs, outputs=(), batching="padded"):
    return ModelMetadata(
        "m", ("1",), "", {t.name: t for t in inputs}, {t.name: t for t in outputs}, properties={"batching": batching}
    )


def recurrent(features=2, layers=2, hidden=3):
    return model(
        TensorMetadata("input", "FP32", (-1, -1, features), ("batch", "sequence", "features")),
        TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence"),
        TensorMetadata("h_0", "FP32", (layers, -1, hidden), STATE, optional=True),
        outputs=[TensorMetadata("h_n", "FP32", (layers, -1, hidden), STATE, continues_as="h_0")],
    )


def lstm():
    metadata = recurrent()
    metadata.inputs["c_0"] = TensorMetadata("c_0", "FP32", (2, -1, 3), STATE, optional=True)
    metadata.outputs["c_n"] = TensorMetadata("c_n", "FP32", (2, -1, 3), STATE, continues_as="c_0")
    return metadata


def time_first():
    return model(TensorMetadata("input", "FP32", (-1, -1, 2), ("sequence", "batch", "features")))


def tokens():
    return model(TensorMetadata("tokens", "INT64", (-1, -1), ("batch", "sequence"), low=0, high=9))


def pair():
    return model(
        TensorMetadata("source", "INT64", (-1, -1), ("batch", "source")),
        TensorMetadata("target", "INT32", (-1, -1), ("batch", "target")),
        TensorMetadata("weights", "FP32", (-1, -1), ("batch", "target"), optional=True),
    )


def pattern(lesson):
    """A literal text in which only `.*` is not."""
    return ".*".join(map(re.escape, lesson.split(".*")))


@pytest.mark.parametrize(
    "sequences",
    [
        TWO,
        tuple(TWO),
        [array.tolist() for array in TWO],
        [array.astype(np.int16) for array in TWO],
        np.zeros((2, 4, 2)),
        (array for array in TWO),
        {"input": TWO},
    ],
)
def test_rows_come_as_lists_arrays_iterators_or_by_name(sequences):
    rows = check_rows(recurrent(), sequences)
    assert [array.shape for array in rows.tensors["input"]] in ([(4, 2), (3, 2)], [(4, 2), (4, 2)])
    assert {array.dtype.name for array in rows.tensors["input"]} == {"float32"}
    assert [size["sequence"] for size in rows.sizes] == [len(array) for array in rows.tensors["input"]]
    assert rows.ends == rows.sizes


def test_states_come_in_pytorch_s_order_as_one_array_or_one_for_each_row():
    whole = np.arange(2 * 2 * 3.0).reshape(2, 2, 3)  # (layers, batch, hidden)
    each = [whole[:, 0], whole[:, 1]]
    for state in (whole, each, tuple(each), [row.tolist() for row in each]):
        found = check_rows(recurrent(), {"input": TWO, "h_0": state}).tensors["h_0"]
        np.testing.assert_array_equal(np.stack(found, axis=1), whole)
        assert found[0].dtype == np.float32


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
    rows = check_rows(recurrent(), {"input": [Tensor(array) for array in TWO], "h_0": Tensor(state)})
    np.testing.assert_array_equal(np.stack(rows.tensors["h_0"], axis=1), state)
    assert [array.shape for array in check_rows(recurrent(), Tensor(np.zeros((3, 4, 2)))).tensors["input"]] == [
        (4, 2)
    ] * 3


@pytest.mark.parametrize("metadata", [recurrent(), recurrent(layers=-1, hidden=-1)])
def test_none_means_the_zero_state_of_a_new_sequence(metadata):
    first, second = check_rows(metadata, {"input": TWO, "h_0": [None, np.ones((2, 3))]}).tensors["h_0"]
    assert (first.tolist(), second.tolist()) == (np.zeros((2, 3)).tolist(), np.ones((2, 3)).tolist())


def test_lengths_set_the_end_of_padded_rows():
    rows = check_rows(recurrent(), {"input": np.zeros((2, 4, 2)), "lengths": [4, 1]})
    assert rows.sizes == [{"sequence": 4}] * 2
    assert rows.ends == [{"sequence": 4}, {"sequence": 1}]
    with pytest.raises(InvalidRequest, match=re.escape("lengths[1] is 5; expected 1 to sequence=4")):
        check_rows(recurrent(), {"input": np.zeros((2, 4, 2)), "lengths": [4, 5]})


@pytest.mark.parametrize(
    ("metadata", "inputs", "lesson"),
    [
        (
            recurrent(),
            np.zeros((4, 2)),
            "the array has shape (4, 2); expected (batch, sequence, features=2).*[array]",
        ),
        (recurrent(), np.zeros(4), "the array has shape (4,); expected (batch, sequence, features=2), or a list"),
        (
            recurrent(),
            np.array([*TWO, None], dtype=object)[:2],
            "array of objects; pass rows of different sizes as a list",
        ),
        (recurrent(), [TWO[0], np.zeros(4)], "sequence 1 has shape (4,), but model m takes (sequence, features=2)"),
        (recurrent(1), [[0.5, 1]], "sequence 0 has shape (2,).*reshape(-1, 1)"),
        (recurrent(), [np.zeros((1, 4, 2))], "sequence 0 has shape (1, 4, 2).*Did you add a batch axis"),
        (recurrent(), [0.5, 0.25], "sequence 0 has shape ().*single number: pass a list"),
        (recurrent(), [TWO[0], np.zeros((0, 2))], "sequence 1 has shape (0, 2) and is empty"),
        (recurrent(), np.zeros((2, 0, 2)), "the array: each row has shape (0, 2) and is empty"),
        (recurrent(), [[[0, 1], [2]]], "sequence 0 is ragged"),
        (
            recurrent(),
            [np.zeros((2, 5))],
            "sequence 0 has shape (2, 5).*in reverse order, (features, sequence), transpose it",
        ),
        (recurrent(), [np.zeros((4, 2), complex)], "sequence 0 has dtype complex128; expected real numbers"),
        (recurrent(), [None], "sequence 0 is None; expected (sequence, features=2)"),
        (recurrent(), "walks.json", '"input" must be a list of rows, got str'),
        (time_first(), np.zeros((2, 2)), "expected (sequence, batch, features=2).*pass [array]"),
        (tokens(), [[1, 2.5]], "sequence 0 is 2.5 at [1], but the model takes int64"),
        (pair(), [[1]], 'model m takes "source", "target"; pass the rows'),
        (pair(), {"source": [[1]]}, '"target" is missing; model m takes (target) for each row'),
        (
            pair(),
            {"source": [[1]], "target": [[1]], "x": [1]},
            'model m has no input "x"; its inputs are source, target, w',
        ),
        (pair(), {"source": [[1]], "target": [[1], [2]]}, '"target" has 2 rows, but "source" has 1'),
        (pair(), {"source": [[1]], "target": [[1, 2]], "weights": [[1]]}, "weights[0] has target=1, but target[0] has"),
        (recurrent(), {"input": TWO, "h_0": np.zeros((2, 3))}, "h_0 has shape (2, 3).*pass [h_0]"),
        (
            recurrent(),
            {"input": TWO, "h_0": np.zeros((5, 2, 3))},
            "(layers * directions=2, batch, hidden=3).*batch-first",
        ),
        (recurrent(), {"input": TWO, "h_0": [np.zeros((2, 3))]}, '"h_0" has 1 rows, but "input" has 2'),
        (recurrent(), {"input": TWO, "h_0": 0.0}, '"h_0" must be a list of rows, got float'),
        (lstm(), {"input": TWO, "h_0": np.zeros((2, 2, 3))}, "h_0 was passed without c_0"),
        (recurrent(layers=-1), {"input": TWO, "h_0": [None, None]}, "h_0 cannot be None in every row"),
        (model(TensorMetadata("a", "BYTES", (-1, 1))), [[0]], "takes a as BYTES"),
        (model(TensorMetadata("a", "FP32", (1, 3))), [[0, 1, 2]], "a [1, 3] of model m has no batch axis"),
        (model(), [[0]], "model m takes no input"),
        (model(), {}, "no rows were passed; the inputs of model m are none"),
    ],
)
def test_other_rows_are_refused_with_a_lesson(metadata, inputs, lesson):
    with pytest.raises(InvalidRequest, match=pattern(lesson)):
        check_rows(metadata, inputs)
