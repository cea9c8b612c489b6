"""Faults planted in the ONNX model, one by one: each is caught, and the message names the tensor."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export import ExportError
from rnnserve.export.parity import ParityError

RECURRENT = ("RNN", "GRU", "LSTM")
GRU = {"cell": "gru", "num_layers": 2, "bidirectional": True}
LSTM = {"cell": "lstm", "num_layers": 2}


def caught(subject, model=None, **options) -> str:
    with pytest.raises(ParityError) as raised:
        subject.prove(model, **options)
    assert isinstance(raised.value, ExportError)
    assert str(raised.value).splitlines() == list(raised.value.failures)
    return str(raised.value)


def layers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    found = [node for node in model.graph.node if node.op_type in RECURRENT]
    assert found
    return found


def change(model: onnx.ModelProto, name: str, how) -> None:
    """Replace an initializer by what `how` makes of it."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    before = numpy_helper.to_array(tensor)
    after = how(before.copy())
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(after), name))


def value(values, name: str):
    (found,) = (value for value in values if value.name == name)
    return found


def swap_gates(model: onnx.ModelProto, one: int, other: int) -> None:
    """Exchange two gates' blocks in W, R and B, in every layer."""
    for node in layers(model):
        (hidden,) = (attribute.i for attribute in node.attribute if attribute.name == "hidden_size")

        def swapped(array, hidden=hidden, gates=3 if node.op_type == "GRU" else 4):
            blocks = array.reshape(array.shape[0], -1, hidden, *array.shape[2:])
            order = list(range(blocks.shape[1]))
            for start in range(0, len(order), gates):  # B holds the biases of W, then those of R
                order[start + one], order[start + other] = order[start + other], order[start + one]
            return blocks[:, order].reshape(array.shape)

        for name in node.input[1:4]:
            change(model, name, swapped)


@pytest.mark.parametrize(("sizes", "gates"), [(GRU, (0, 1)), (LSTM, (0, 2)), (LSTM, (1, 3))], ids=str)
def test_swapped_gates(subject, sizes, gates):
    model = subject(**sizes).graph()
    swap_gates(model, *gates)
    message = caught(subject(**sizes), model)
    assert 'onnx, step: "h_n"' in message
    assert 'onnx, random: "output" at sequence 128' in message
    assert "expected" in message
    assert "allowed" in message


@pytest.mark.parametrize("sizes", [{}, LSTM], ids=str)
def test_a_reversed_direction(subject, sizes):
    model = subject(**sizes).graph()
    for node in layers(model):
        (direction,) = (attribute for attribute in node.attribute if attribute.name == "direction")
        direction.s = b"reverse"
    message = caught(subject(**sizes), model)
    assert 'onnx, random: "output"' in message
    assert 'onnx, sample: "logits"' in message
    assert "in two parts" in message


def test_directions_that_are_exchanged(subject):
    model = subject(**GRU).graph()
    for node in layers(model):
        for name in node.input[1:4]:
            change(model, name, lambda array: array[::-1])
    assert 'onnx, step: "h_n"' in caught(subject(**GRU), model)


@pytest.mark.parametrize("sizes", [{}, GRU, LSTM], ids=str)
def test_ignored_lengths(subject, sizes):
    model = subject(**sizes).graph()
    for node in layers(model):
        node.input[4] = ""
    message = caught(subject(**sizes), model)
    assert 'zeros after lengths: "output"' in message
    assert 'onnx, padding: "logits"' in message
    assert 'onnx, sample: "logits"' in message


def test_lengths_that_are_no_input(subject):
    model = subject().graph()
    for node in layers(model):
        node.input[4] = ""
    model.graph.input.remove(value(model.graph.input, "lengths"))
    for node in [node for node in model.graph.node if "lengths" in node.input]:
        model.graph.node.remove(node)
    message = caught(subject(), model)
    assert 'inputs are "input", "h_0"; expected "input", "lengths", "h_0"' in message
    assert 'onnx, random: "logits"' in message


def test_logits_of_the_last_output(subject):
    """`output[:, -1]`, the tutorial's trap: right for full lengths, one direction, and nothing else."""
    model = subject(num_layers=2).graph()
    (head,) = (node for node in model.graph.node if "logits" in node.output)
    model.graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    gather = helper.make_node("Gather", ["output", "last"], ["last_output"], axis=1)
    head.input[0] = "last_output"
    at = list(model.graph.node).index(head)
    model.graph.node.insert(at, gather)
    message = caught(subject(num_layers=2), model)
    assert 'onnx, sample: "logits"' in message
    assert 'onnx, step: "logits"' not in message
    assert '"h_n"' not in message


@pytest.mark.parametrize(("sizes", "part"), [({}, 1), ({}, 2), ({}, 3), (LSTM, 2)], ids=str)
def test_one_weight_that_is_off_by_a_thousandth(subject, sizes, part):
    model = subject(**sizes).graph()

    def perturbed(array):
        array.flat[1] += 1e-3
        return array

    change(model, layers(model)[0].input[part], perturbed)
    assert 'onnx, step: "h_n"' in caught(subject(**sizes), model)


def test_one_weight_that_is_no_number(subject):
    model = subject().graph()
    change(model, layers(model)[0].input[2], lambda array: np.where(array == array.flat[0], np.nan, array))
    message = caught(subject(), model)
    assert 'onnx, step: "h_n"' in message
    assert "found nan" in message


def test_layers_of_h_n_in_the_wrong_order(subject):
    model = subject(num_layers=2).graph()
    (maker,) = (node for node in model.graph.node if "h_n" in node.output)
    assert maker.op_type == "Concat"
    for node in model.graph.node:  # logits are made of the right one
        node.input[:] = ["right" if name == "h_n" else name for name in node.input]
    maker.output[0] = "right"
    model.graph.node.append(helper.make_node("Concat", list(maker.input)[::-1], ["h_n"], axis=0))
    message = caught(subject(num_layers=2), model)
    assert 'onnx, step: "h_n"' in message
    assert 'onnx, final states: "h_n"' in message
    assert "in two parts" in message  # what is carried over goes to the wrong layer
    assert 'onnx, step: "output"' not in message
    assert 'onnx, step: "logits"' not in message


def test_a_gru_that_resets_before_the_product(subject):
    model = subject(**GRU).graph()
    for node in layers(model):
        (attribute,) = (attribute for attribute in node.attribute if attribute.name == "linear_before_reset")
        attribute.i = 0
    assert 'onnx, step: "h_n"' in caught(subject(**GRU), model)


@pytest.mark.parametrize(
    ("side", "tensor", "axis"), [("output", "h_n", 1), ("output", "output", 1), ("input", "lengths", 0)]
)
def test_a_wrong_axis_name(subject, side, tensor, axis):
    model = subject().graph()
    values = model.graph.input if side == "input" else model.graph.output
    value(values, tensor).type.tensor_type.shape.dim[axis].dim_param = "rows"
    message = caught(subject(), model)
    assert f'onnx, axis names: {side} "{tensor}" has axes' in message
    assert "rows" in message
    assert len(message.splitlines()) == 1


def test_a_size_that_only_the_sample_has(subject):
    model = subject().graph()
    value(model.graph.input, "input").type.tensor_type.shape.dim[1].dim_value = 5
    message = caught(subject(), model)
    assert "(batch, 5, 2); expected (batch, sequence, 2)" in message
    assert "onnx, random: random of batch 1, sequence 2: onnxruntime does not run" in message


def test_a_wrong_dtype(subject):
    model = subject().graph()
    (head,) = (node for node in model.graph.node if "logits" in node.output)
    head.output[0] = "single"
    model.graph.node.append(helper.make_node("Cast", ["single"], ["logits"], to=TensorProto.DOUBLE))
    value(model.graph.output, "logits").type.tensor_type.elem_type = TensorProto.DOUBLE
    message = caught(subject(), model)
    assert 'onnx, dtypes: output "logits" is float64; expected float32' in message


def test_a_wrong_dtype_of_an_input(subject):
    model = subject().graph()
    value(model.graph.input, "lengths").type.tensor_type.elem_type = TensorProto.INT32
    message = caught(subject(), model)
    assert 'onnx, dtypes: input "lengths" is int32; expected int64' in message
    assert "onnx, step: step of batch 1, sequence 1: onnxruntime does not run" in message
    assert len(message.splitlines()) == 4  # one for each kind of input; the rest was not compared


def test_a_wrong_output_name(subject):
    model = subject().graph()
    for node in model.graph.node:
        node.input[:] = ["hidden" if name == "h_n" else name for name in node.input]
        node.output[:] = ["hidden" if name == "h_n" else name for name in node.output]
    value(model.graph.output, "h_n").name = "hidden"
    message = caught(subject(), model)
    assert 'outputs are "logits", "output", "hidden"; expected "logits", "output", "h_n"' in message


def test_everything_that_is_wrong_is_said_at_once(subject):
    model = subject().graph()
    value(model.graph.output, "output").type.tensor_type.shape.dim[0].dim_param = "rows"
    change(model, "head.weight", lambda array: -array)
    message = caught(subject(), model)
    assert 'axis names: output "output"' in message
    assert 'onnx, step: "logits"' in message
    assert 'onnx, random: "logits" at sequence 128' in message
    assert message.count("onnx, labels: row") == 1  # the other batches are counted


def test_what_is_no_model(subject):
    message = caught(dataclasses.replace(subject(), model=b"no model"))
    assert message.startswith("onnx: is no ONNX model")


def test_a_model_that_onnxruntime_does_not_take(subject):
    model = subject().graph()
    layers(model)[0].op_type = "Unknown"
    assert "onnxruntime does not take the model" in caught(subject(), model)
