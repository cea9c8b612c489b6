"""Files of operator sets before 9 are converted, and compared with what they were."""

import numpy as np
import pytest
from onnx import numpy_helper

from kit.old_files import FEATURES, old_file
from rnnserve.export.adoption import Roles
from rnnserve.export.adoption.old_operators import OLDEST, check_converted, converted, operator_set
from rnnserve.export.adoption.open_axes import open_input
from rnnserve.export.errors import ExportError
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.parity import OnnxProcess, OnnxRunner


def test_recurrent_operator_is_converted_and_gives_the_same_bits():
    model = old_file(6, "LSTM")
    made = converted(model)
    assert operator_set(made) == OLDEST
    x = np.random.default_rng(1).standard_normal((5, 2, FEATURES)).astype(np.float32)
    later = OnnxRunner(old_file(7, "LSTM").SerializeToString())({"x": x})  # the same weights, in today's words
    assert OnnxRunner(made.SerializeToString())({"x": x})["logits"].tobytes() == later["logits"].tobytes()
    assert model.SerializeToString() == old_file(6, "LSTM").SerializeToString()


def test_file_that_is_not_old_stays():
    assert converted(old_file(OLDEST)) is None


def test_only_a_conversion_that_changes_results_is_refused():
    model = old_file(7)
    made = converted(model)
    right = made.SerializeToString()
    bias = next(each for each in made.graph.initializer if each.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.array([0, 1e-3], np.float32) + numpy_helper.to_array(bias), "bias"))
    opened = [open_input(value, Roles(), None, is_lengths=False) for value in model_inputs(model)]
    with OnnxProcess(60.0) as process:
        check_converted(model, opened, {"x": 1}, {"sequence": 4}, OnnxRunner(right, process=process), process)
        runner = OnnxRunner(made.SerializeToString(), process=process)
        with pytest.raises(ExportError, match='"logits" differs from the results of '):
            check_converted(model, opened, {"x": 1}, {"sequence": 4}, runner, process)
