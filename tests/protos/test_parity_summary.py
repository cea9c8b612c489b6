"""A record of parity in few bytes: the largest distances of each length."""

import json

from rnnserve.protos.parity_summary import summarise_parity


def distance(length, eager, **others):
    return {"input": "random", "length": length, "onnx_from_eager_max": eager, **others}


def test_summary_has_the_largest_distance_of_each_length():
    record = {
        "samples": 9,
        "checks": ["onnx: names"],
        "distances": [
            distance(4, 1e-7, onnx_from_float64_max=5.55555e-7),
            distance(1, 2e-7),
            distance(4, 3e-7, onnx_from_float64_max=1e-7, eager_from_float64_max=4e-7),
        ],
    }
    assert json.loads(summarise_parity(record)) == {
        "exact": "float64",
        "samples": 9,
        "checks": ["onnx: names"],
        "distances": [[1, 2e-7, 0.0, 0.0], [4, 3e-7, 5.56e-7, 4e-7]],
    }


def test_non_finite_distance_is_null():
    said = summarise_parity({"distances": [distance(2, 1.0), distance(2, "NaN", onnx_from_float64_max="-Infinity")]})
    assert json.loads(said)["distances"] == [[2, None, None, 0.0]]
