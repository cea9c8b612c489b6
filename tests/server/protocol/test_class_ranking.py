"""Which classes come first, and how Triton writes them."""

import numpy as np
from tritonclient.utils import deserialize_bytes_tensor

from rnnserve.protos.datatypes import DTYPES
from rnnserve.server.protocol.class_ranking import rank_classes


def ranked(values, count, labels=()):
    shape, elements = rank_classes(values, count, labels)
    return np.reshape([element.decode() for element in deserialize_bytes_tensor(elements)], shape).tolist()


def test_highest_classes_come_first_and_equal_ones_in_order():
    for datatype in DTYPES.keys() - {"BOOL"}:
        values = np.array([[3, 7, 7, 0], [1, 1, 1, 1]], DTYPES[datatype])
        decimals = ".000000" if datatype.startswith("FP") else ""
        assert ranked(values, 3) == [
            [f"7{decimals}:1", f"7{decimals}:2", f"3{decimals}:0"],
            [f"1{decimals}:0", f"1{decimals}:1", f"1{decimals}:2"],
        ]


def test_integers_at_their_limits_are_ranked_as_they_are():
    assert ranked(np.array([[0, 2**64 - 1, 2**63]], np.uint64), 2) == [[f"{2**64 - 1}:1", f"{2**63}:2"]]
    assert ranked(np.array([[-(2**63), 2**63 - 1]], np.int64), 2) == [[f"{2**63 - 1}:1", f"{-(2**63)}:0"]]


def test_the_example_of_tritons_documentation():
    values = np.array([[1, 5, 10, 4]], np.int32)
    assert ranked(values, 2) == [["10:2", "5:1"]]
    assert ranked(values, 2, ["a", "pickle", "apple", "b"]) == [["10:2:apple", "5:1:pickle"]]


def test_each_step_has_classes_of_its_own():
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)[..., ::-1]  # (batch, sequence, classes)
    shape, _ = rank_classes(values, 1, ())
    assert shape == (2, 3, 1)
    assert ranked(values, 1)[1] == [["15.000000:0"], ["19.000000:0"], ["23.000000:0"]]


def test_labels_are_utf_8():
    assert ranked(np.array([[1.5]], np.float64), 1, ["größer: ja"]) == [["1.500000:0:größer: ja"]]
