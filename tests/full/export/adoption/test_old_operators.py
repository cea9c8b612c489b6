"""More files of operator sets before 9: every cell, those that nothing runs, and files of numbers alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kit.old_files import FEATURES, GATES, old_file
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.adoption.old_operators import OLDEST, check_converted, converted, operator_set
from rnnserve.export.adoption.open_axes import open_input
from rnnserve.export.errors import ExportError
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.parity import ONNX_REFERENCE, OnnxProcess, OnnxRunner


def opened(model):
    return [open_input(value, Roles(), None, is_lengths=False) for value in model_inputs(model)]


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("opset", [6, 7])
def test_recurrent_operators_are_converted_and_give_what_they_gave(opset, operator):
    model = old_file(opset, operator)
    made = converted(model)
    assert operator_set(made) == OLDEST
    x = np.random.default_rng(1).standard_normal((5, 2, FEATURES)).astype(np.float32)
    later = OnnxRunner(old_file(7, operator).SerializeToString())({"x": x})  # the same weights, in words of today
    assert OnnxRunner(made.SerializeToString())({"x": x})["logits"].tobytes() == later["logits"].tobytes()
    assert model.SerializeToString() == old_file(opset, operator).SerializeToString()


def test_a_file_that_onnxruntime_does_not_run_is_compared_with_the_reference(tmp_path):
    path = tmp_path / "old.onnx"
    onnx.save(old_file(6, sizes=("sequence", 1)), path)
    done = adopt(path, "m", tmp_path / "repository")
    assert "onnx: its operator set is 6, converted to 9 by onnx: it has the results of onnx's reference" in (
        done.manifest.parity.checks
    )
    x = np.random.default_rng(1).standard_normal((5, 3, FEATURES)).astype(np.float32)
    found = OnnxRunner((done.published.folder / "model.onnx").read_bytes())({"x": x})["logits"]
    expected = OnnxRunner(old_file(7).SerializeToString())({"x": x})["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_conversion_that_onnxruntime_does_not_run_is_refused_with_the_way_out(tmp_path):
    """Scan of set 8 has an axis of rows, and an input for lengths: onnx's converter leaves it as it is."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("h", "step", "next", "out")]
    nodes = [helper.make_node("Add", ["h", "step"], ["next"]), helper.make_node("Identity", ["next"], ["out"])]
    body = helper.make_graph(nodes, "body", values[:2], values[2:])
    graph = helper.make_graph(
        [helper.make_node("Scan", ["", "h0", "x"], ["hn", "y"], body=body, num_scan_inputs=1)],
        "old",
        [
            helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", 3]),
        ],
        [
            helper.make_tensor_value_info("hn", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "T", 3]),
        ],
    )
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=4), path)
    with pytest.raises(
        ExportError, match="its operator set is 8, and onnxruntime does not run what onnx converts it to"
    ):
        adopt(path, "m", tmp_path / "repository")


def test_what_nothing_runs_as_it_was_is_refused():
    model = old_file(6)
    made = converted(model)
    model.graph.node[1].op_type = "Unknown"
    with OnnxProcess(60.0) as process:
        runner = OnnxRunner(made.SerializeToString(), process=process)
        with pytest.raises(ExportError, match="nothing runs it as it is, to compare its conversion with"):
            check_converted(model, opened(made), {"x": 1}, {"sequence": 4}, runner, process)


def test_the_reference_answers_as_onnxruntime_does_and_says_what_it_does_not_take():
    x = np.random.default_rng(2).standard_normal((4, 2, FEATURES)).astype(np.float32)
    with OnnxProcess(60.0) as process:
        reference = OnnxRunner(old_file(9).SerializeToString(), providers=[ONNX_REFERENCE], process=process)
        found = reference({"x": x})["logits"]
        np.testing.assert_allclose(found, OnnxRunner(old_file(9).SerializeToString())({"x": x})["logits"], atol=1e-6)
        with pytest.raises(RuntimeError, match="onnx's reference does not run"):
            reference({"x": x[..., :2]})
        unknown = old_file(9)
        unknown.graph.node[0].op_type = "Unknown"
        with pytest.raises(RuntimeError, match="onnx's reference does not take the model"):
            OnnxRunner(unknown.SerializeToString(), providers=[ONNX_REFERENCE], process=process)


def test_rows_of_a_file_that_takes_numbers_alone(tmp_path):
    names = {'{"1": "a \\ b"}': [], "speed": []}  # as exporters name tensors
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in names.items()]
    made = [helper.make_tensor_value_info('the "way"', TensorProto.FLOAT, [])]
    graph = helper.make_graph([helper.make_node("Mul", list(names), ['the "way"'])], "numbers", given, made)
    path = tmp_path / "numbers.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    done = adopt(path, "m", tmp_path / "repository")
    rows = np.arange(3, dtype=np.float32)
    found = OnnxRunner((done.published.folder / "model.onnx").read_bytes())(dict.fromkeys(names, rows))
    assert found['the "way"'].tolist() == [0, 1, 4]
