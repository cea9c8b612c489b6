"""Roles of tensors in ONNX files: which ones the import infers, and which ones it asks for."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.description.publication import Floats
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.export.onnx_import.file_inputs import describe_inputs, read_inputs
from rnnserve.export.onnx_import.importing import describe_states
from rnnserve.protos import manifest_pb2

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
X = ("x", FLOAT, ["batch_size", "time", 2])
TOKENS = ("tokens", INT64, ["batch", "sequence"])
TABLE = numpy_helper.from_array(np.zeros((11, 7), np.float32), "table")


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), [output], **attributes)


CHOSEN = [node("Gather", "table tokens", "y")]


def model_of(inputs, nodes=()):
    """Build a model from inputs (name, kind, axes) and nodes that compute y. Without nodes, y is the first input."""
    values = [helper.make_tensor_value_info(name, kind, axes) for name, kind, axes in inputs]
    nodes = nodes or [node("Identity", inputs[0][0], "y")]
    made = [helper.make_tensor_value_info("y", inputs[0][1], [None] * len(inputs[0][2]))]
    graph = helper.make_graph(nodes, "few", values, made, [TABLE])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def described(*inputs, roles=None, nodes=()):
    """Describe inputs with the first candidate as the batch axis, and list the requested options."""
    found, questions = read_inputs(ir.from_proto(model_of(inputs, nodes)), roles or Roles())
    batches = {each.tensor.name: each.candidates[0] for each in found}
    return describe_inputs(found, batches, {}), list(questions)


@pytest.mark.parametrize(
    ("nodes", "rows"),
    [
        (CHOSEN, 11),
        ([node("Gather", "table tokens", "y", axis=1)], 7),
        (
            [node("Cast", "tokens", "cast", to=INT32), node("Transpose", "cast", "t"), node("Gather", "table t", "y")],
            11,
        ),
        (
            [
                helper.make_node("Constant", [], ["small"], value=numpy_helper.from_array(np.zeros((5, 2)), "small")),
                node("Gather", "small tokens", "one"),
                *CHOSEN,
            ],
            5,
        ),
    ],
    ids=["rows", "columns", "in another form", "the smaller one"],
)
def test_range_of_integers_is_the_size_of_the_indexed_table(nodes, rows):
    (tokens,), asked = described(TOKENS, nodes=nodes)
    assert (tokens.integers.low, tokens.integers.high, asked) == (0, rows, [])


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gather", "tokens table", "y")],  # the tokens are chosen from
        [node("Neg", "tokens", "less"), node("Gather", "table less", "y")],
        [node("Tile", "table tokens", "y")],
    ],
)
def test_integer_input_that_indexes_no_table_needs_the_range_option(nodes):
    assert described(TOKENS, nodes=nodes)[1] == ["--integers tokens=LOW:HIGH"]
    (tokens,), asked = described(TOKENS, nodes=nodes, roles=Roles(integers={"tokens": (-2, 5)}))
    assert (tokens.integers.low, tokens.integers.high, asked) == (-2, 5, [])


@pytest.mark.parametrize(("name", "kind"), [("lengths", INT64), ("seq_len", INT32), ("Len", INT64)])
def test_lengths_are_recognized_by_name(name, kind):
    (x, lengths), _ = described(X, (name, kind, ["BATCH"]))
    assert [(axis.name, axis.size) for axis in x.axes] == [("batch", -1), ("time", -1), ("axis 2", 2)]
    assert [(axis.name, axis.size) for axis in lengths.axes] == [("batch", -1)]
    assert (lengths.lengths_of, lengths.default) == ("time", manifest_pb2.DEFAULT_FULL_LENGTH)


def test_lengths_option_sets_the_measured_axis():
    assert described(X, ("n", INT64, ["batch"]), roles=Roles(lengths={"n": "time"}))[0][1].lengths_of == "time"
    long = described(X, ("len", INT64, ["batch"]), roles=Roles(integers={"len": (0, 3)}))[0][1]
    assert (long.lengths_of, long.integers.high) == ("", 3)


def test_unnamed_dynamic_axes_are_sequence_axes():
    (x,), _ = described(("x", FLOAT, [1, "unk__7", None, -1, 2]))
    assert [axis.name for axis in x.axes] == ["batch", "sequence", "sequence_2", "sequence_3", "axis 4"]


LEN = ("len", INT64, ["batch"])
TWO = ("x", FLOAT, ["batch", "source", "target"])


@pytest.mark.parametrize(
    ("inputs", "roles", "phrase"),
    [
        ([("x", FLOAT, [3, 2])], Roles(), 'input "x" (3, 2) has no axis for the batch'),
        ([("x", FLOAT, [3, "t"])], Roles(axes={("x", 0): "batch"}), "this axis has the fixed size 3"),
        ([("x", FLOAT, [])], Roles(), "all inputs are single numbers"),
        ([X, ("rate", FLOAT, [])], Roles(axes={("rate", 0): "batch"}), "--constant rate=VALUE"),
        ([("x", TensorProto.STRING, ["batch"])], Roles(), 'input "x" is string; expected booleans, integers or'),
        ([("x", TensorProto.BFLOAT16, ["batch"])], Roles(), 'input "x" is bfloat16; expected'),
        ([X], Roles(axes={("z", 0): "batch"}), '--axis names "z"; expected one of x, y'),
        ([X], Roles(lengths={"z": "time"}), '--lengths names "z"; expected one of x'),
        ([X], Roles(integers={"y": (0, 1)}), '--integers names "y"; expected one of x'),
        ([X], Roles(states={"y": "z"}), '--state names "z"; expected one of x'),
        ([X], Roles(states={"z": "x"}), '--state names "z"; expected one of y'),
        ([X], Roles(constants={"z": "1"}), '--constant names "z"; expected one of x'),
        ([X], Roles(axes={("y", 1): "steps"}), '--axis y.1=steps: this axis always has the size of "time"'),
        ([TWO, LEN], Roles(), "--lengths len=AXIS, with one of source, target"),
        ([TWO, LEN], Roles(lengths={"len": "time"}), "count; the sequence axes are source, target"),
        (
            [X, ("len", INT64, ["batch", "time"])],
            Roles(lengths={"len": "time"}),
            "must be INT64 or INT32 with the axes",
        ),
    ],
)
def test_import_names_the_missing_option(inputs, roles, phrase, tmp_path):
    (tmp_path / "few.onnx").write_bytes(model_of(inputs).SerializeToString())
    with pytest.raises(WrongArguments) as raised:
        import_onnx(tmp_path / "few.onnx", "few", tmp_path / "repository", roles)
    assert phrase in str(raised.value)


def test_input_that_is_not_a_tensor_is_refused():
    model = model_of([X])
    model.graph.input.append(helper.make_tensor_sequence_value_info("list", FLOAT, ["batch"]))
    with pytest.raises(WrongArguments, match='"list" is no tensor'):
        read_inputs(ir.from_proto(model), Roles())


def tensors(**axes):
    return [Floats(*each).tensor(name) for name, each in axes.items()]


def test_states_are_inferred_from_names_and_axes():
    inputs = tensors(h_0=(1, "batch", 4), c_0=(1, "batch", 4), x_0=("batch", 3), g=("batch", 2))
    outputs = tensors(h_n=(1, "batch", 4), x_n=("batch", 5), g_n=("batch", 2), out=(1, "batch", 4))
    assert describe_states(inputs, outputs, Roles(states={"out": "c_0"})) == {"out": "c_0", "h_n": "h_0"}
    assert [tensor.default == manifest_pb2.DEFAULT_ZEROS for tensor in inputs] == [True, True, False, False]
    # What the user says goes before names.
    assert describe_states(inputs, outputs, Roles(states={"out": "h_0"})) == {"out": "h_0"}


@pytest.mark.parametrize(("after", "found"), [("past", {"cache_n": "cache_0"}), ("longer", {})])
def test_states_need_equal_axes(after, found):
    inputs = [Floats("batch", "past", 4).tensor("cache_0")]
    outputs = [Floats("batch", after, 4).tensor("cache_n")]
    assert describe_states(inputs, outputs, Roles()) == found
