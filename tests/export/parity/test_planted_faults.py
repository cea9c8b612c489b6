"""Faults planted in the ONNX model of a classifier, one by one: parity catches each and names the tensor."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export import ExportError
from rnnserve.export.parity import ParityError

SIMPLE: dict = {}
STACKED = {"num_layers": 2}
GRU = {"cell": "gru", "bidirectional": True}


def layers(model):
    return [node for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM")]


def attribute(node, name):
    (found,) = (attribute for attribute in node.attribute if attribute.name == name)
    return found


def value(values, name):
    (found,) = (value for value in values if value.name == name)
    return found


def maker(model, name):
    (node,) = (node for node in model.graph.node if name in node.output)
    return node


def change(model, name, how):
    """Replace an initializer by what `how` makes of a copy of it."""
    tensor = value(model.graph.initializer, name)
    before = numpy_helper.to_array(tensor)
    after = how(before.copy())
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(after), name))


def rename(model, old, new):
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def swap_gates(model):
    """Exchange the first two gates in W, R and B of every layer."""
    for node in layers(model):
        hidden = attribute(node, "hidden_size").i

        def swapped(array, hidden=hidden):
            blocks = array.reshape(array.shape[0], -1, hidden, *array.shape[2:])
            order = [1, 0, 2, 4, 3, 5][: blocks.shape[1]]  # B holds the biases of W, then those of R
            return blocks[:, order].reshape(array.shape)

        for name in node.input[1:4]:
            change(model, name, swapped)


def reverse_direction(model):
    for node in layers(model):
        attribute(node, "direction").s = b"reverse"


def exchange_directions(model):
    for node in layers(model):
        for name in node.input[1:4]:
            change(model, name, lambda array: array[::-1])


def reset_before_product(model):
    for node in layers(model):
        attribute(node, "linear_before_reset").i = 0


def ignore_lengths(model):
    for node in layers(model):
        node.input[4] = ""


def remove_lengths(model):
    ignore_lengths(model)
    model.graph.input.remove(value(model.graph.input, "lengths"))
    for node in [node for node in model.graph.node if "lengths" in node.input]:
        model.graph.node.remove(node)


def read_last_output(model):
    """`output[:, -1]`, the tutorial's trap: right for full lengths and one direction only."""
    head = maker(model, "logits")
    model.graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    head.input[0] = "last_output"
    gather = helper.make_node("Gather", ["output", "last"], ["last_output"], axis=1)
    model.graph.node.insert(list(model.graph.node).index(head), gather)


def move_weight(model):
    def moved(array):
        array.flat[1] += 1e-3
        return array

    change(model, layers(model)[0].input[1], moved)


def spoil_weight(model):
    change(model, layers(model)[0].input[2], lambda array: np.where(array == array.flat[0], np.nan, array))


def turn_layers_of_h_n(model):
    concat = maker(model, "h_n")
    rename(model, "h_n", "right")  # the logits read the right one
    model.graph.node.append(helper.make_node("Concat", list(concat.input)[::-1], ["h_n"], axis=0))


def rename_axis(model):
    value(model.graph.output, "h_n").type.tensor_type.shape.dim[1].dim_param = "rows"


def fix_size(model):
    value(model.graph.input, "input").type.tensor_type.shape.dim[1].dim_value = 5


def widen_logits(model):
    rename(model, "logits", "single")
    model.graph.node.append(helper.make_node("Cast", ["single"], ["logits"], to=TensorProto.DOUBLE))
    value(model.graph.output, "logits").type.tensor_type.elem_type = TensorProto.DOUBLE


def narrow_lengths(model):
    value(model.graph.input, "lengths").type.tensor_type.elem_type = TensorProto.INT32


def rename_output(model):
    rename(model, "h_n", "hidden")
    value(model.graph.output, "h_n").name = "hidden"


def rename_axis_and_negate_head(model):
    value(model.graph.output, "output").type.tensor_type.shape.dim[0].dim_param = "rows"
    change(model, "head.weight", lambda array: -array)


def use_unknown_operator(model):
    layers(model)[0].op_type = "Unknown"


PADDING = ['zeros after lengths: "output"', 'onnx, sample: "logits"']
NO_LENGTHS = 'inputs are "input", "h_0"; expected "input", "lengths", "h_0"'
NO_H_N = 'outputs are "logits", "output", "hidden"; expected "logits", "output", "h_n"'

# The architecture, the fault, parts of the message, and parts that it must not have.
FAULTS = [
    (GRU, swap_gates, ['onnx, step: "h_n"', 'onnx, random: "output" at sequence ', "expected", "allowed"], []),
    (SIMPLE, reverse_direction, ['onnx, random: "output"', 'onnx, sample: "logits"'], []),
    (GRU, exchange_directions, ['onnx, step: "h_n"'], []),
    (GRU, reset_before_product, ['onnx, step: "h_n"'], []),
    (SIMPLE, ignore_lengths, PADDING, []),
    (SIMPLE, remove_lengths, [NO_LENGTHS, 'onnx, random: "logits"'], []),
    (STACKED, read_last_output, ['onnx, sample: "logits"'], ['onnx, step: "logits"', '"h_n"']),
    (SIMPLE, move_weight, ['onnx, step: "h_n"'], []),
    (SIMPLE, spoil_weight, ['onnx, step: "h_n"', "nan"], []),
    # A state that is carried over goes to the wrong layer.
    (
        STACKED,
        turn_layers_of_h_n,
        ['onnx, step: "h_n"', 'onnx, random: "h_n"'],
        ['onnx, step: "output"', 'onnx, step: "logits"'],
    ),
    (SIMPLE, rename_axis, ['onnx, axis names: output "h_n" has axes', "rows"], ["\n"]),
    (SIMPLE, fix_size, ["(batch, 5, 2); expected (batch, sequence, 2)", "onnxruntime cannot run"], []),
    (SIMPLE, widen_logits, ['onnx, dtypes: output "logits" is float64; expected float32'], []),
    (SIMPLE, narrow_lengths, ['onnx, dtypes: input "lengths" is int32; expected int64', "cannot run"], []),
    (SIMPLE, rename_output, [NO_H_N], []),
    (SIMPLE, rename_axis_and_negate_head, ['axis names: output "output"', 'onnx, step: "logits"'], []),
    (SIMPLE, use_unknown_operator, ["onnxruntime cannot load the model"], []),
]


@pytest.mark.parametrize(("sizes", "plant", "said", "unsaid"), FAULTS, ids=lambda part: getattr(part, "__name__", ""))
def test_planted_fault_is_caught_and_named(subject, sizes, plant, said, unsaid):
    model = subject(**sizes).graph()
    plant(model)
    with pytest.raises(ParityError) as raised:
        subject(**sizes).verify_parity(model)
    assert isinstance(raised.value, ExportError)
    message = str(raised.value)
    assert message.splitlines() == list(raised.value.failures)
    assert [part for part in said if part not in message] == []
    assert [part for part in unsaid if part in message] == []


def test_bytes_that_are_not_a_model_are_refused(subject):
    with pytest.raises(ParityError, match=r"^onnx: is not an ONNX model"):
        dataclasses.replace(subject(), model=b"no model").verify_parity()


def test_model_as_exported_passes(subject):
    assert onnx.load_model_from_string(subject().model).graph.node
    assert subject().verify_parity().parity.samples > 1000
