"""A bound run reads and writes the arrays that it is bound to. What a kernel refuses is the request's fault."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.server.errors import InvalidRequest
from rnnserve.server.repository.bound_run import BoundRun

TWICE, LOOKED_UP = "twice", "looked up"


@pytest.fixture
def session():
    """Two outputs: twice the input, and the input looked up in a table of two entries, which refuses 2 and more."""
    nodes = [
        helper.make_node("Add", ["x", "x"], [TWICE]),
        helper.make_node("Gather", ["table", "x"], [LOOKED_UP]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["rows"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in (TWICE, LOOKED_UP)]
    table = numpy_helper.from_array(np.array([70, 71]), "table")
    graph = helper.make_graph(nodes, "graph", [x], outputs, [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_each_run_reads_the_inputs_and_writes_the_outputs(session):
    x, twice, looked_up = np.array([0, 1]), np.zeros(2, np.int64), np.zeros(2, np.int64)
    run = BoundRun(session, {"x": x}, {TWICE: twice, LOOKED_UP: looked_up})
    run.run()
    assert (twice.tolist(), looked_up.tolist()) == ([0, 2], [70, 71])
    x[:] = [1, 1]
    run.run()
    assert (twice.tolist(), looked_up.tolist()) == ([2, 2], [71, 71])


def test_values_that_a_kernel_refuses_are_the_requests_fault(session):
    x, looked_up = np.array([0, 5]), np.zeros(2, np.int64)
    run = BoundRun(session, {"x": x}, {LOOKED_UP: looked_up})
    with pytest.raises(InvalidRequest, match=r"onnxruntime refuses the values of this request: Gather: .*idx=5"):
        run.run()
