"""Roles of tensors in ONNX files, read from graphs of a few nodes: what is found, and what is asked for."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.adoption.file_tensors import (
    choose_outputs,
    constant_inputs,
    describe_inputs,
    name_output_axes,
    write_axis_names,
)
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.adoption.state_pairs import describe_states
from rnnserve.export.description.input_descriptions import Floats
from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model_of(inputs, *, nodes=(), initializers=(), outputs=("y",)):
    """A model of these inputs, (name, kind, axes) each."""
    values = [helper.make_tensor_value_info(name, kind, axes) for name, kind, axes in inputs]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    return helper.make_model(helper.make_graph(list(nodes), "few", values, results, list(initializers)))


def described(*inputs, roles=None, **graph):
    return describe_inputs(model_of(inputs, **graph), roles or Roles())


def refused(*inputs, **options):
    with pytest.raises(WrongArguments) as raised:
        described(*inputs, **options)
    return str(raised.value)


def table(rows, axis=0):
    shape = [4, 4]
    shape[axis] = rows
    return numpy_helper.from_array(np.zeros(shape, np.float32), "table")


def constant(name, **attribute):
    return helper.make_node("Constant", [], [name], **attribute)


TOKENS = ("tokens", INT64, ["batch", "sequence"])


@pytest.mark.parametrize(
    ("nodes", "initializers", "rows"),
    [
        ([helper.make_node("Gather", ["table", "tokens"], ["y"])], [table(11)], 11),
        ([helper.make_node("Gather", ["table", "tokens"], ["y"], axis=1)], [table(11, axis=1)], 11),
        (
            [
                helper.make_node("Cast", ["tokens"], ["cast"], to=TensorProto.INT32),
                helper.make_node("Transpose", ["cast"], ["turned"]),
                helper.make_node("Gather", ["table", "turned"], ["y"]),
            ],
            [table(11)],
            11,
        ),
        (
            [
                constant("small", value=table(7)),
                helper.make_node("Gather", ["table", "tokens"], ["one"]),
                helper.make_node("Gather", ["small", "tokens"], ["y"]),
            ],
            [table(11)],
            7,
        ),
    ],
)
def test_a_table_tells_which_integers_choose_from_it(nodes, initializers, rows):
    (tokens,) = described(TOKENS, nodes=nodes, initializers=initializers)
    assert (tokens.integers.low, tokens.integers.high) == (0, rows)


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [helper.make_node("Gather", ["tokens", "table"], ["y"])],  # the tokens are chosen from
        [helper.make_node("Neg", ["tokens"], ["less"]), helper.make_node("Gather", ["table", "less"], ["y"])],
        [constant("list", value_floats=[1.0, 2.0]), helper.make_node("Gather", ["list", "tokens"], ["y"])],
        [helper.make_node("Tile", ["table", "tokens"], ["y"])],
    ],
)
def test_without_a_table_integers_are_asked_for(nodes):
    assert "--integers tokens=LOW:HIGH" in refused(TOKENS, nodes=nodes, initializers=[table(11)])
    (tokens,) = described(TOKENS, nodes=nodes, initializers=[table(11)], roles=Roles(integers={"tokens": (-2, 5)}))
    assert (tokens.integers.low, tokens.integers.high) == (-2, 5)


X = ("x", FLOAT, ["batch_size", "time", 2])


@pytest.mark.parametrize(
    ("name", "kind", "datatype"),
    [("lengths", INT64, "INT64"), ("seq_len", TensorProto.INT32, "INT32"), ("Len", INT64, "INT64")],
)
def test_lengths_are_known_by_their_name(name, kind, datatype):
    x, lengths = described(X, (name, kind, ["BATCH"]))
    assert [(axis.name, axis.size) for axis in x.axes] == [("batch", -1), ("time", -1), ("axis 2", 2)]
    assert [(axis.name, axis.size) for axis in lengths.axes] == [("batch", -1)]
    assert (lengths.lengths_of, lengths.datatype) == ("time", datatype)
    assert lengths.default == manifest_pb2.DEFAULT_FULL_LENGTH
    assert not lengths.HasField("integers")


def test_lengths_are_what_the_user_says():
    n = ("n", INT64, ["batch"])
    assert described(X, n, roles=Roles(lengths={"n": "time"}))[1].lengths_of == "time"
    long = described(X, ("len", INT64, ["batch"]), roles=Roles(integers={"len": (0, 3)}))[1]
    assert (long.lengths_of, long.integers.high) == ("", 3)
    flat = ("len", INT64, ["batch", "time"])
    assert "which values it takes" in refused(X, flat)
    assert "of a sequence axis; there are time" in refused(X, flat, roles=Roles(lengths={"len": "time"}))
    two = ("x", FLOAT, ["batch", "source", "target"])
    assert "--lengths len=AXIS, with one of source, target" in refused(two, ("len", INT64, ["batch"]))
    assert described(two, n, roles=Roles(lengths={"n": "target"}))[1].lengths_of == "target"


@pytest.mark.parametrize(
    ("value", "roles", "phrase"),
    [
        (("x", FLOAT, ["n", "t"]), {}, '--axis x.AT=batch, AT of 0 ("n"), 1 ("t")'),
        (("x", FLOAT, [1, "t"]), {}, '--axis x.AT=batch, AT of 1 ("t"), 0 (always 1)'),
        (("x", FLOAT, [1, 2]), {}, "--axis x.AT=batch, AT of 0 (always 1)"),
        (("x", FLOAT, [2, 2]), {}, 'input "x" has no axis "batch"'),
        (("x", FLOAT, ["batch", None]), {}, "--axis x.1=batch or --axis x.1=sequence"),
        (("x", FLOAT, [3, "t"]), {("x", 0): "batch"}, "this axis is always 3"),
        (("x", TensorProto.STRING, ["batch"]), {}, 'input "x" is string; models take booleans, integers and floats'),
        (("x", TensorProto.BFLOAT16, ["batch"]), {}, 'input "x" is bfloat16; models take'),
        (("x", FLOAT, None), {}, 'input "x" declares no shape'),
        (("x", FLOAT, ["batch"]), {("z", 0): "batch"}, '--axis names "z"; there are x, y'),
    ],
)
def test_import_asks_for_what_the_file_does_not_say(value, roles, phrase):
    assert phrase in refused(value, roles=Roles(axes=roles))


def test_an_input_that_is_no_tensor():
    model = model_of([X])
    model.graph.input.append(helper.make_tensor_sequence_value_info("list", FLOAT, ["batch"]))
    with pytest.raises(WrongArguments, match='"list" is no tensor'):
        describe_inputs(model, Roles())


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(lengths={"z": "time"}), '--lengths names "z"; there are x'),
        (Roles(integers={"y": (0, 1)}), '--integers names "y"; there are x'),
        (Roles(states={"y": "z"}), '--state names "z"; there are x'),
        (Roles(states={"z": "x"}), '--state names "z"; there are y'),
    ],
)
def test_role_of_an_unknown_tensor_is_refused(roles, message):
    assert refused(X, roles=roles) == message


def tensors(**axes):
    return [Floats(*each).tensor(name) for name, each in axes.items()]


def test_states_are_found_by_name_and_axes():
    inputs = tensors(h_0=(1, "batch", 4), c_0=(1, "batch", 4), x_0=("batch", 3), g=("batch", 2))
    outputs = tensors(h_n=(1, "batch", 4), x_n=("batch", 5), g_n=("batch", 2), out=(1, "batch", 4))
    assert describe_states(inputs, outputs, Roles(states={"out": "c_0"})) == {"out": "c_0", "h_n": "h_0"}
    assert [tensor.default == manifest_pb2.DEFAULT_ZEROS for tensor in inputs] == [True, True, False, False]
    # What the user says goes before names.
    assert describe_states(inputs, outputs, Roles(states={"out": "h_0"})) == {"out": "h_0"}


def test_axes_of_outputs_are_named():
    outputs = tensors(y=("batch", "time", 3))
    name_output_axes(outputs, Roles(axes={("y", 2): "scores", ("y", 0): "batch"}))
    assert [axis.name for axis in outputs[0].axes] == ["batch", "time", "scores"]
    with pytest.raises(WrongArguments, match=r'^--axis y\.1=steps: this axis is as large as "time"$'):
        name_output_axes(outputs, Roles(axes={("y", 1): "steps"}))


def test_outputs_are_chosen_in_the_order_given():
    model = model_of([X], outputs=("a", "b", "c"))
    choose_outputs(model, ())
    assert [value.name for value in model.graph.output] == ["a", "b", "c"]
    choose_outputs(model, ["c", "a"])
    assert [value.name for value in model.graph.output] == ["c", "a"]
    with pytest.raises(WrongArguments, match=r'^there is no output "b"; the outputs are c, a$'):
        choose_outputs(model, ["a", "b"])


def test_names_are_written_into_the_file_and_constants_are_no_inputs():
    model = model_of([X, ("table", FLOAT, [11, 4])], initializers=[table(11)])
    inputs = describe_inputs(model, Roles())
    assert [tensor.name for tensor in inputs] == ["x"]
    write_axis_names(model, inputs, tensors(y=("batch", "time", 3)))
    assert [value.name for value in model.graph.input] == ["x"]
    axes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert axes == [["batch", "time", 2], ["batch", "time", 3]]


@pytest.mark.parametrize(("version", "others"), [(9, ""), (3, "; IR version 3 lists the weights there, too")])
def test_inputs_that_have_values_are_told(version, others):
    names = [f"table_{at}" for at in range(7)]
    model = model_of(
        [X, *((name, FLOAT, [11, 4]) for name in names)],
        initializers=[numpy_helper.from_array(np.zeros((11, 4), np.float32), name) for name in names],
    )
    model.ir_version = version
    assert constant_inputs(model) == (
        "onnx: inputs that have values in the file keep these, and no request sets them: "
        f'"table_0", "table_1", "table_2", "table_3", "table_4" and 2 more{others}'
    )
    assert constant_inputs(model_of([X])) == ""
