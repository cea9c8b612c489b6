"""Files of operator sets before 9, as exporters of 2017 wrote them."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["FEATURES", "GATES", "old_file"]

FEATURES, HIDDEN = 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def old_file(opset, operator="LSTM", sizes=("sequence", "batch")):
    """A classifier of each step, as exporters of 2017 wrote it: weights among the inputs, broadcasting said."""
    random, width = np.random.default_rng(0), GATES[operator] * HIDDEN
    shapes = {"W": (1, width, FEATURES), "R": (1, width, HIDDEN), "B": (1, 2 * width), "out": (HIDDEN, 2), "bias": (2,)}
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    said: dict[str, Any] = {"broadcast": 1} if opset < 7 else {}
    switched: dict[str, Any] = {"is_test": 1} if opset < 7 else {}
    sequence: dict[str, Any] = {"output_sequence": 1} if opset < 7 and operator != "GRU" else {}
    nodes = [
        helper.make_node(operator, ["x", "W", "R", "B"], ["all", "h"], hidden_size=HIDDEN, **sequence),
        helper.make_node("Squeeze", ["all"], ["steps"], axes=[1]),
        helper.make_node("Dropout", ["steps"], ["kept"], ratio=0.5, **switched),
        helper.make_node("MatMul", ["kept", "out"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"], **said),
    ]
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [*sizes, FEATURES]),
        *(helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in weights),
    ]
    made = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*sizes, 2])]
    graph = helper.make_graph(nodes, "old", given, made, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
