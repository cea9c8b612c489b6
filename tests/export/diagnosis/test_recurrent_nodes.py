"""What is said of recurrent operators that differ from a right export's: exact sentences, on graphs of one operator."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.recurrent_nodes import compare_recurrent_nodes, layout_faults

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = {
    "x": np.ones((2, 3, 2), np.float32),  # (sequence, batch, features)
    "n": np.array([2, 1, 2], np.int32),  # (batch,)
    "h": np.full((1, 3, 4), 0.5, np.float32),  # (directions, batch, hidden)
    "c": np.full((1, 3, 4), 0.25, np.float32),
}
TITLE = 'node "layer" '


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


LSTM = ("x", "W", "R", "B", "n", "h", "c")


@pytest.mark.parametrize("operator", GATES)
def test_a_graph_equals_itself(operator):
    assert differences(graph(operator), graph(operator)) == []
    stateless = graph(operator, inputs=("x", "W", "R", "B"))
    assert differences(stateless, stateless) == []


def test_more_than_the_module_needs_is_no_difference():
    """Lengths and states that the module does not have are other tensors, which are told elsewhere."""
    assert differences(graph(), graph(inputs=("x", "W", "R", "B"))) == []


@pytest.mark.parametrize(
    ("found", "right", "sentence"),
    [
        (
            {"linear_before_reset": 0},
            {},
            "has linear_before_reset=0: a GRU of another formula. PyTorch multiplies by the reset gate after the "
            "hidden weights; set linear_before_reset=1",
        ),
        ({"direction": "reverse"}, {}, 'has direction "reverse"; the module\'s layer is "forward"'),
        ({"activations": ["Sigmoid", "Relu"]}, {}, "has the activations sigmoid, relu; the module has sigmoid, tanh"),
        ({"activations": ["Sigmoid", "Tanh"]}, {}, None),
        ({"clip": 0.05}, {}, "has clip=0.05: it cuts values off, which the module does not"),
        ({"clip": 0.05}, {"clip": 0.05}, None),
        (
            {"inputs": ("x", "W", "R", "B", "", "h")},
            {},
            "has no sequence_lens: it ignores the lengths, and runs into the padding",
        ),
        (
            {"inputs": ("x", "W", "R", "B")},
            {"inputs": ("x", "W", "R", "B", "n")},
            "has no sequence_lens: it ignores the lengths, and runs into the padding",
        ),
        (
            {"constants": {"n": INPUTS["n"]}},
            {},
            "has a constant sequence_lens: it ignores the lengths, and runs into the padding",
        ),
        (
            {"inputs": ("x", "W", "R", "B", "n")},
            {},
            "has no initial_h, or a constant one: it ignores the initial state",
        ),
        (
            {"constants": {"h": INPUTS["h"]}},
            {},
            "has no initial_h, or a constant one: it ignores the initial state",
        ),
    ],
)
def test_a_gru_that_differs(found, right, sentence):
    expected = [] if sentence is None else [f"{TITLE}(GRU) {sentence}"]
    assert differences(graph(**found), graph(**right)) == expected


def test_activations_of_both_directions():
    two = weights("GRU", 2)
    inputs = ("x", "W", "R", "B", "n")
    right = graph(tensors=two, inputs=inputs, direction="bidirectional")
    given = graph(tensors=two, inputs=inputs, direction="bidirectional", activations=["Sigmoid", "Tanh"] * 2)
    assert differences(given, right) == []
    other = graph(
        tensors=two, inputs=inputs, direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh", "Tanh"]
    )
    assert differences(other, right) == [
        f"{TITLE}(GRU) has the activations sigmoid, tanh, tanh, tanh; the module has sigmoid, tanh, sigmoid, tanh"
    ]


def test_what_only_an_lstm_has():
    right = graph("LSTM", inputs=LSTM)
    assert differences(graph("LSTM", inputs=LSTM, input_forget=1), right) == [
        f"{TITLE}(LSTM) has input_forget=1: it couples the input and the forget gate, which the module does not"
    ]
    assert differences(graph("LSTM", inputs=(*LSTM[:5], "c", "h")), right) == [
        f"{TITLE}(LSTM) has initial_h and initial_c swapped"
    ]


def other(name, change, operator="LSTM"):
    tensors = weights(operator)
    return tensors | {name: change(tensors[name].copy())}


def plus(at, amount):
    def change(array):
        array[0, at] += np.float32(amount)
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("W", plus(1, 0.5), "has other weights than the module: W up to 0.5 apart"),
        ("R", plus(1, 0.5), "has other weights than the module: R up to 0.5 apart"),
        ("B", plus(1, 0.25), "has other biases B than the module, up to 0.25 apart"),
    ],
)
def test_other_numbers(name, change, sentence):
    found = differences(graph("LSTM", tensors=other(name, change)), graph("LSTM"))
    assert found == [f"{TITLE}(LSTM) {sentence}"]


@pytest.mark.parametrize("name", ["W", "R", "B"])
def test_weights_that_were_computed_otherwise_are_the_same(name):
    assert differences(graph("LSTM", tensors=other(name, plus(1, 8e-7))), graph("LSTM")) == []
    assert len(differences(graph("LSTM", tensors=other(name, plus(1, 1.2e-6))), graph("LSTM"))) == 1


def test_both_weights_are_named():
    tensors = {name: array + np.float32(0.5) for name, array in weights("LSTM").items()}
    assert differences(graph("LSTM", tensors=tensors), graph("LSTM")) == [
        f"{TITLE}(LSTM) has other weights than the module: W up to 0.5 apart, R up to 0.5 apart"
    ]


def biases_moved(operator, gates):
    """The biases of these gates, 0.25 more on the side of the input and 0.25 less on that of the state."""
    moved, rows = weights(operator), GATES[operator] * 4
    for gate in gates:
        moved["B"][0, gate * 4] += np.float32(0.25)
        moved["B"][0, rows + gate * 4] -= np.float32(0.25)
    return moved


@pytest.mark.parametrize(("operator", "gates"), [("RNN", [0]), ("LSTM", [0, 1, 2, 3]), ("GRU", [0, 1])])
def test_biases_may_stand_on_either_side(operator, gates):
    assert differences(graph(operator, tensors=biases_moved(operator, gates)), graph(operator)) == []


def test_biases_of_a_grus_h_stand_on_their_side():
    """Only one of them is multiplied by the reset gate."""
    assert differences(graph(tensors=biases_moved("GRU", [2])), graph()) == [
        f"{TITLE}(GRU) has other biases B than the module, up to 0.25 apart"
    ]


def test_no_biases_are_zeros():
    tensors = weights("GRU")
    zeros = tensors | {"B": np.zeros_like(tensors["B"])}
    without = graph(inputs=("x", "W", "R", "", "n", "h"))
    assert differences(without, graph(tensors=zeros)) == []
    largest = max(float(np.abs(tensors["B"][0, at] + tensors["B"][0, 12 + at])) for at in range(8))
    largest = max(largest, float(np.abs(tensors["B"][0, [*range(8, 12), *range(20, 24)]]).max()))
    assert differences(without, graph()) == [
        f"{TITLE}(GRU) has other biases B than the module, up to {largest:.3g} apart"
    ]


@pytest.mark.parametrize(
    ("operator", "order", "sentence"),
    [
        ("GRU", (1, 0, 2), "has its gates in the order r, z, h; ONNX's is z, r, h"),
        ("LSTM", (0, 2, 3, 1), "has its gates in the order i, f, c, o; ONNX's is i, o, f, c"),
    ],
)
def test_gates_in_another_order(operator, order, sentence):
    gates = GATES[operator]
    tensors = {
        name: np.concatenate([np.split(array, gates, 1)[at] for at in order], 1) if name != "B" else array
        for name, array in weights(operator).items()
    }
    assert differences(graph(operator, tensors=tensors), graph(operator)) == [f"{TITLE}({operator}) {sentence}"]


def test_directions_that_are_swapped_and_gates_with_them():
    two = weights("GRU", 2)
    inputs = ("x", "W", "R", "B", "n")
    right = graph(tensors=two, inputs=inputs, direction="bidirectional")
    swapped = {name: array[::-1] for name, array in two.items()}
    text = f"{TITLE}(GRU) has its two directions swapped: the forward weights run backwards"
    found = graph(tensors=swapped, inputs=inputs, direction="bidirectional")
    assert differences(found, right) == [text]
    both = {
        name: np.concatenate([np.split(array, 3, 1)[at] for at in (1, 0, 2)], 1) if name != "B" else array
        for name, array in swapped.items()
    }
    found = graph(tensors=both, inputs=inputs, direction="bidirectional")
    assert differences(found, right) == [f"{text} and has its gates in the order r, z, h; ONNX's is z, r, h"]


def test_weights_of_another_width():
    wide = graph(tensors=weights("GRU", hidden=6), inputs=("x", "W", "R", "B"))
    assert differences(wide, graph(inputs=("x", "W", "R", "B"))) == [
        f"{TITLE}(GRU) has weights W and R of shapes [1, 18, 2] and [1, 18, 6], unlike the module's"
    ]


def test_other_operators_or_another_number_of_them():
    assert differences(graph(), graph("LSTM")) == [
        "its recurrent operators are GRU; a right export of the module has LSTM"
    ]
    assert differences(graph(copies=2), graph()) == [
        "its recurrent operators are GRU, GRU; a right export of the module has GRU"
    ]
    none = helper.make_model(
        helper.make_graph(
            [helper.make_node("Neg", ["x"], ["y"])],
            "none",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 2))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    assert differences(none, graph()) == ["its recurrent operators are none; a right export of the module has GRU"]
    assert differences(graph(), none) == ["its recurrent operators are GRU; a right export of the module has none"]
    assert differences(none, none) == []


def test_a_node_without_a_name_has_that_of_its_result():
    model = graph(copies=2, clip=0.5)
    assert [text.partition(" has ")[0] for text in differences(model, graph(copies=2))] == [
        'node "y0" (GRU)',
        'node "y1" (GRU)',
    ]


def test_the_batch_first_layout_is_named():
    model = graph(layout=1)
    assert list(layout_faults(model)) == [
        'node "layer" (GRU) has layout=1, which onnxruntime does not run; transpose its input and outputs, and leave '
        "layout out"
    ]
    assert list(layout_faults(graph(layout=0))) == list(layout_faults(graph())) == []
    elsewhere = helper.make_node("Custom", ["x"], ["z"], domain="other", layout=1)
    model.graph.node.insert(0, elsewhere)
    assert len(list(layout_faults(onnx.ModelProto.FromString(model.SerializeToString())))) == 1
