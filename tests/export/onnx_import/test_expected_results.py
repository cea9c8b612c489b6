"""Expected results of a file: their tolerance, and their use as golden tests."""

from typing import Any

import numpy as np
import pytest

from kit.descriptions import tensors_described
from rnnserve.export.description.publication import Floats, Integers, Lengths
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.onnx_import.samples import expected_cases
from rnnserve.export.parity.reference import OnnxTruth

DESCRIBED = {"x": Floats("sequence", "batch", 2), "lengths": Lengths()}
OUTPUTS = {"y": Floats("sequence", "batch", 2), "tags": Integers("batch", high=9)}
MODEL = tensors_described(DESCRIBED, OUTPUTS)


def computed(inputs):
    return {"y": inputs["x"] * 1, "tags": inputs["lengths"] * 1}


RUN: Any = computed  # typed as a runner


def sample(rows=3, steps=2, lengths=None):
    x = np.full((steps, rows, 2), 0.5, np.float32)
    x[0] = np.arange(rows)[:, None] / 128
    return {"x": x, "lengths": np.full(rows, steps) if lengths is None else np.array(lengths)}


def cases(inputs, given):
    return expected_cases(MODEL, OnnxTruth(RUN), [(inputs, given)])


def test_servers_allow_a_larger_difference_than_the_root_mean_square():
    inputs = sample()
    given = inputs["x"].copy()
    given[1, 2, 1] = np.float32(0.5) + np.float32(2.0**-19)
    assert cases(inputs, {"y": given}).sequence == 2.5 * 2.0**-19
    assert cases(inputs, {"y": inputs["x"]}).sequence == 0


def test_values_after_a_length_are_taken_from_the_file():
    inputs = sample(lengths=[2, 1, 2])
    given = inputs["x"].copy()
    given[1, 1] = 99
    found = cases(inputs, {"y": given})
    assert (found.cases[0].eager["y"] == inputs["x"]).all()
    assert found.sequence == 0


# The limit is that of samples, 4e-6, and four times what moved inputs do: an ulp of 0.5 is 6e-8.
@pytest.mark.parametrize(("change", "passes"), [(4.1e-6, True), (4.5e-6, False), (-4.5e-6, False), (np.nan, False)])
def test_file_must_compute_the_expected_results(change, passes):
    inputs = sample()
    given = inputs["x"].copy()
    given[1, 2, 1] += np.float32(change)
    if passes:
        cases(inputs, {"y": given})
        return
    with pytest.raises(ExportError) as raised:
        cases(inputs, {"y": given})
    value = float(given[1, 2, 1])
    assert str(raised.value).startswith(f'sample 0: "y" at [1, 2, 1] is 0.5, but the sample has {value:.9g}: ')
    assert str(raised.value).endswith("other results than its framework, or the sample belongs to another model")


def test_integers_must_be_equal():
    inputs = sample()
    with pytest.raises(ExportError, match=r'"tags" at \[1\] is 2, but the sample has 3: 1 apart, 0 allowed. The file'):
        cases(inputs, {"tags": np.array([2, 3, 2])})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": np.zeros(3)}, 'sample 0 has "output:z"; the outputs are y, tags'),
        ({"y": np.zeros((2, 3))}, 'sample 0: "output:y" has shape [2, 3]; the file returns [2, 3, 2]'),
        ({"y": np.zeros((1, 3, 2))}, 'sample 0: "output:y" has shape [1, 3, 2]; the file returns [2, 3, 2]'),
    ],
)
def test_results_of_another_shape_are_refused(given, message):
    with pytest.raises(WrongArguments) as raised:
        cases(sample(), given)
    assert str(raised.value) == message
