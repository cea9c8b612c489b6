"""How a recurrent operator differs from that of a right export, on graphs of one operator."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.recurrent_nodes import compare_recurrent_nodes, layout_faults

LSTM = ("x", "W", "R", "B", "n", "h", "c")
STATELESS = ("x", "W", "R", "B")
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = {
    "x": np.ones((2, 3, 2), np.float32),  # (sequence, batch, features)
    "n": np.array([2, 1, 2], np.int32),  # (batch,)
    "h": np.full((1, 3, 4), 0.5, np.float32),  # (directions, batch, hidden)
    "c": np.full((1, 3, 4), 0.25, np.float32),
}


def weights(operator, directions=1, *, hidden=4):
    random = np.random.default_rng(3)
    rows = GATES[operator] * hidden
    shapes = {"W": (directions, rows, 2), "R": (directions, rows, hidden), "B": (directions, 2 * rows)}
    return {name: random.uniform(-0.5, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def graph(
    operator="GRU", *, tensors=None, inputs=("x", "W", "R", "B", "n", "h"), constants=None, copies=1, **attributes
):
    """A model of one recurrent operator, or several equal ones."""
    tensors = (tensors or weights(operator)) | (constants or {})
    if operator == "GRU":
        attributes = {"linear_before_reset": 1, **attributes}
    attributes = {"hidden_size": tensors["R"].shape[2], **attributes}
    nodes = [
        helper.make_node(operator, list(inputs), [f"y{at}"], name="layer" if copies == 1 else "", **attributes)
        for at in range(copies)
    ]
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    values = [
        helper.make_tensor_value_info(name, kinds[array.dtype], array.shape)
        for name, array in INPUTS.items()
        if name in inputs and name not in tensors
    ]
    outputs = [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(array, name) for name, array in tensors.items() if name in inputs]
    return helper.make_model(
        helper.make_graph(nodes, "one", values, outputs, initializers),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )


def values(model):
    names = {value.name for value in model.graph.input}
    return GraphValues(model, {name: array for name, array in INPUTS.items() if name in names})


def differences(found, right):
    return list(compare_recurrent_nodes(values(found), values(right)))


def said(found, right):
    """Give the one difference, which begins with the name of the node."""
    (line,) = differences(found, right)
    title = f'node "layer" ({found.graph.node[0].op_type}) '
    assert line.startswith(title)
    return line.removeprefix(title)


@pytest.mark.parametrize("operator", GATES)
def test_graph_has_no_differences_from_itself(operator):
    assert differences(graph(operator), graph(operator)) == []
    stateless = graph(operator, inputs=STATELESS)
    assert differences(stateless, stateless) == []


def test_lengths_and_states_that_the_module_lacks_are_no_difference():
    assert differences(graph(), graph(inputs=STATELESS)) == []


@pytest.mark.parametrize(
    ("found", "phrase"),
    [
        ({"linear_before_reset": 0}, "has linear_before_reset=0: a GRU of another formula"),
        ({"direction": "reverse"}, 'has direction "reverse"; the module\'s layer is "forward"'),
        ({"activations": ["Sigmoid", "Relu"]}, "has the activations sigmoid, relu; the module has sigmoid, tanh"),
        ({"clip": 0.05}, "has clip=0.05"),
        ({"inputs": ("x", "W", "R", "B", "", "h")}, "has no sequence_lens: it ignores the lengths"),
        ({"constants": {"n": INPUTS["n"]}}, "has a constant sequence_lens"),
        ({"inputs": ("x", "W", "R", "B", "n")}, "has no initial_h, or a constant one"),
        ({"constants": {"h": INPUTS["h"]}}, "has no initial_h, or a constant one"),
    ],
)
def test_attribute_or_input_that_differs_is_named(found, phrase):
    assert phrase in said(graph(**found), graph())


def test_attributes_that_mean_the_same_are_no_difference():
    assert differences(graph(activations=["Sigmoid", "Tanh"]), graph()) == []
    assert differences(graph(clip=0.05), graph(clip=0.05)) == []
    both = {"tensors": weights("GRU", 2), "inputs": ("x", "W", "R", "B", "n"), "direction": "bidirectional"}
    assert differences(graph(**both, activations=["Sigmoid", "Tanh"] * 2), graph(**both)) == []
    other = graph(**both, activations=["Sigmoid", "Tanh", "Tanh", "Tanh"])
    assert "sigmoid, tanh, tanh, tanh; the module has sigmoid, tanh, sigmoid, tanh" in said(other, graph(**both))


def test_what_only_an_lstm_has_is_named():
    right = graph("LSTM", inputs=LSTM)
    assert "has input_forget=1" in said(graph("LSTM", inputs=LSTM, input_forget=1), right)
    swapped = graph("LSTM", inputs=(*LSTM[:5], "c", "h"))
    assert said(swapped, right) == "has initial_h and initial_c swapped"


def moved(operator, name, *moves):
    """Give weights with these (row, amount) added to one of them."""
    tensors = weights(operator)
    for row, amount in moves:
        tensors[name][0, row] += np.float32(amount)
    return tensors


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("W", "other weights than the module: W up"),
        ("R", "R up to 0.5"),
        ("B", "other biases B than the module"),
    ],
)
def test_other_weights_are_named_and_rounding_is_none(name, phrase):
    assert phrase in said(graph("LSTM", tensors=moved("LSTM", name, (1, 0.5))), graph("LSTM"))
    assert differences(graph("LSTM", tensors=moved("LSTM", name, (1, 8e-7))), graph("LSTM")) == []
    assert len(differences(graph("LSTM", tensors=moved("LSTM", name, (1, 1.2e-6))), graph("LSTM"))) == 1


def test_biases_may_stand_on_either_side_except_those_of_the_new_gate_of_a_gru():
    for operator, gates in (("RNN", [0]), ("LSTM", [0, 1, 2, 3]), ("GRU", [0, 1])):
        rows = GATES[operator] * 4
        moves = [move for gate in gates for move in ((gate * 4, 0.25), (rows + gate * 4, -0.25))]
        assert differences(graph(operator, tensors=moved(operator, "B", *moves)), graph(operator)) == []
    # The reset gate multiplies only one of these two.
    assert "up to 0.25" in said(graph(tensors=moved("GRU", "B", (8, 0.25), (20, -0.25))), graph())


def test_missing_biases_are_zeros():
    tensors = weights("GRU")
    without = graph(inputs=("x", "W", "R", "", "n", "h"))
    assert differences(without, graph(tensors=tensors | {"B": np.zeros_like(tensors["B"])})) == []
    assert "has other biases B" in said(without, graph())


def reordered(tensors, gates, order):
    return {
        name: array if name == "B" else np.concatenate([np.split(array, gates, 1)[at] for at in order], 1)
        for name, array in tensors.items()
    }


def test_gates_in_another_order_are_named():
    gru = graph(tensors=reordered(weights("GRU"), 3, (1, 0, 2)))
    assert said(gru, graph()) == "has its gates in the order r, z, h; ONNX's is z, r, h"
    lstm = graph("LSTM", tensors=reordered(weights("LSTM"), 4, (0, 2, 3, 1)))
    assert said(lstm, graph("LSTM")) == "has its gates in the order i, f, c, o; ONNX's is i, o, f, c"


def test_swapped_directions_are_named_and_their_gates_with_them():
    two, more = weights("GRU", 2), {"inputs": ("x", "W", "R", "B", "n"), "direction": "bidirectional"}
    swapped = {name: array[::-1] for name, array in two.items()}
    found = said(graph(tensors=swapped, **more), graph(tensors=two, **more))
    assert found == "has its two directions swapped: the forward weights run backwards"
    both = said(graph(tensors=reordered(swapped, 3, (1, 0, 2)), **more), graph(tensors=two, **more))
    assert both == f"{found} and has its gates in the order r, z, h; ONNX's is z, r, h"


def test_weights_of_another_width_are_named():
    wide = graph(tensors=weights("GRU", hidden=6), inputs=STATELESS)
    assert "of shapes [1, 18, 2] and [1, 18, 6], unlike the module's" in said(wide, graph(inputs=STATELESS))


def test_other_operators_and_another_number_of_them_are_named():
    none = graph()
    none.graph.node[0].CopyFrom(helper.make_node("Neg", ["x"], ["y0"]))
    for found, right, phrase in (
        (graph(), graph("LSTM"), "are GRU; a right export of the module has LSTM"),
        (graph(copies=2), graph(), "are GRU, GRU; a right export of the module has GRU"),
        (none, graph(), "are none; a right export of the module has GRU"),
        (graph(), none, "are GRU; a right export of the module has none"),
    ):
        assert differences(found, right) == [f"its recurrent operators {phrase}"]
    assert differences(none, none) == []


def test_node_without_a_name_is_called_by_its_result():
    lines = differences(graph(copies=2, clip=0.5), graph(copies=2))
    assert [text.partition(" has ")[0] for text in lines] == ['node "y0" (GRU)', 'node "y1" (GRU)']


def test_batch_first_layout_is_named():
    model = graph(layout=1)
    (fault,) = layout_faults(model)
    assert fault.startswith('node "layer" (GRU) has layout=1, which onnxruntime does not run')
    assert list(layout_faults(graph(layout=0))) == list(layout_faults(graph())) == []
    model.graph.node.insert(0, helper.make_node("Custom", ["x"], ["z"], domain="other", layout=1))
    assert list(layout_faults(model)) == [fault]
