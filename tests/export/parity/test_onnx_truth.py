"""onnxruntime's results in the place of a module's: as they are, and as float64."""

from typing import Any

import numpy as np

from rnnserve.export.parity.onnx_truth import OnnxTruth
from rnnserve.export.parity.reference import MOVED

RESULTS = {
    "floats": np.array([0.1], np.float32),
    "halves": np.array([0.1], np.float16),
    "flags": np.array([True]),
    "tags": np.array([3], np.int32),
    "bytes": np.array([3], np.uint8),
}


def test_floats_become_float64_and_the_rest_stays():
    run: Any = lambda _: RESULTS  # noqa: E731 - typed as a runner
    truth = OnnxTruth(run)
    exact = truth.exact({})
    assert {name: array.dtype.name for name, array in exact.items()} == {
        "floats": "float64", "halves": "float64", "flags": "bool", "tags": "int32", "bytes": "uint8",
    }  # fmt: skip
    assert all((exact[name] == RESULTS[name]).all() for name in RESULTS)
    assert truth.eager({}) is RESULTS
    assert truth.exact_by == MOVED


def test_results_of_moved_inputs_are_eight():
    x = np.full(1000, 1.0, np.float32)
    run: Any = lambda inputs: inputs  # noqa: E731 - typed as a runner
    given = list(OnnxTruth(run).moved({"x": x, "n": np.array([3])}))
    assert len(given) == 8
    ulp = 2.0**-23
    for each in given:
        assert each["n"].tolist() == [3]
        assert each["x"].dtype == np.float32
        steps = (each["x"].astype(np.float64) - 1) / ulp
        # Below 1 the steps of float32 are half as large.
        assert set(steps.tolist()) == {-1, 0, 1}
    assert not np.array_equal(given[0]["x"], given[1]["x"])
