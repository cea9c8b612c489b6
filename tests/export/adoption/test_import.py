"""ONNX files of any origin: roles found or asked for, nothing proven that was not, and results that replay."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from rnnserve.cli import main
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.adoption.sample_file import Sample, read_samples
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.protos.golden import load_cases, replay

SIZES = {"sequence": (1, 24)}


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(11, 3)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, tokens, h_0):
        return self.gru(self.embedding(tokens), h_0)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        return self.gru(input)[0].mean(1)


def traced(module, arguments, path, **options):
    file: Any = io.BytesIO()  # torch takes one, its annotations do not say it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, file, dynamo=False, verbose=False, **options)
    path.write_bytes(file.getvalue())
    return path


def words(folder, axes=None):
    return traced(
        Words(),
        (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(1, 2, 4)),
        folder / "words.onnx",
        input_names=["tokens", "h_0"],
        output_names=["output", "h_n"],
        dynamic_axes=axes or {"tokens": {0: "batch_size", 1: "time"}, "h_0": {1: "batch_size"}},
    )


def mean(folder):
    return traced(
        Mean(),
        (torch.zeros(2, 5, 3),),
        folder / "mean.onnx",
        input_names=["input"],
        output_names=["y"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )


def with_lengths(folder, *, axes=("batch", "sequence")):
    """A GRU written by hand, with sequence_lens: tensors x (batch, sequence, 2), n (batch,), y (batch, sequence, 3)."""
    random = np.random.default_rng(0)
    weights = {
        name: onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("W", (1, 9, 2)), ("R", (1, 9, 3)), ("B", (1, 18)))
    }
    zero = onnx.numpy_helper.from_array(np.array([1]), "directions")
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["len"], ["n32"], to=TensorProto.INT32),
        helper.make_node("GRU", ["xt", "W", "R", "B", "n32"], ["yt"], hidden_size=3, linear_before_reset=1),
        helper.make_node("Squeeze", ["yt", "directions"], ["ys"]),
        helper.make_node("Transpose", ["ys"], ["y"], perm=[1, 0, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [*axes, 2]),
            helper.make_tensor_value_info("len", TensorProto.INT64, [axes[0]]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, None])],
        [*weights.values(), zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "by_hand.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_roles_are_found(tmp_path):
    done = adopt(words(tmp_path), "words", tmp_path / "repository", Roles(sizes={"time": (1, 24)}))
    tokens, h_0 = done.manifest.inputs
    assert [(axis.name, axis.size) for axis in tokens.axes] == [("batch", -1), ("time", -1)]
    assert (tokens.integers.low, tokens.integers.high) == (0, 11)
    assert h_0.default == manifest_pb2.DEFAULT_ZEROS
    output, h_n = done.manifest.outputs
    assert h_n.continues_as == "h_0"
    assert [axis.name for axis in output.axes] == ["batch", "time", "axis 2"]
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_JOINED
    assert 'no input holds the lengths of the axis "time"' in done.manifest.batching.reasons[0]


def test_the_version_says_that_it_is_adopted_and_its_results_replay(tmp_path):
    done = adopt(with_lengths(tmp_path), "by_hand", tmp_path / "repository", Roles(sizes=SIZES))
    version = read_version(done.published.folder)
    manifest = version.manifest
    assert manifest.origin == manifest_pb2.ORIGIN_ADOPTED
    assert manifest.parity.checks[0] == "adopted: not compared with its framework"
    assert not manifest.parity.distances
    assert manifest.parity.samples == 0
    assert sorted(version.files) == ["golden.npz", "model.onnx"]
    assert manifest.inputs[1].lengths_of == "sequence"
    assert manifest.outputs[0].zeros_after_lengths
    assert manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    graph = onnx.load_model_from_string(version.files["model.onnx"]).graph
    assert [dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim] == [
        "batch",
        "sequence",
        3,
    ]
    cases = load_cases(version.files["golden.npz"])
    assert {case.kind for case in cases} == {"step", "random"}
    limits = manifest.replay_limits[0]
    runner = OnnxRunner(version.files["model.onnx"])
    assert replay(cases, runner, limits) == []

    def wrong(inputs):
        return {
            name: array + np.float32(1e-3) for name, array in OnnxRunner(version.files["model.onnx"])(inputs).items()
        }

    assert replay(cases, wrong, limits)


def test_verify_says_what_it_cannot_repeat(tmp_path, capsys):
    adopt(with_lengths(tmp_path), "by_hand", tmp_path / "repository", Roles(sizes=SIZES))
    assert main(["verify", str(tmp_path / "repository")]) == 0
    assert "adopted: not compared with its framework" in capsys.readouterr().out


def test_padding_that_changes_answers_is_found(tmp_path):
    """A sequence axis without lengths: requests share runs only at equal sizes."""
    done = adopt(mean(tmp_path), "mean", tmp_path / "repository", Roles(sizes=SIZES))
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_JOINED


def test_neighbours_that_change_answers_are_found(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"]),
        helper.make_node("Sub", ["input", "mean"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "normalises over the batch",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(np.array([0]), "axes")],
    )
    path = tmp_path / "unsafe.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    done = adopt(path, "unsafe", tmp_path / "repository")
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_ALONE
    assert '"y": ReduceMean "mean" averages over the rows of the batch' in done.manifest.batching.reasons[0]


def test_expected_outputs_become_golden_results(tmp_path):
    path = mean(tmp_path)
    random = np.random.default_rng(3)
    samples = []
    for length in (4, 9):
        array = random.standard_normal((3, length, 3)).astype(np.float32)
        with torch.no_grad():
            samples.append(Sample({"input": array}, {"y": Mean().eval()(torch.from_numpy(array)).numpy()}))
    done = adopt(path, "mean", tmp_path / "repository", Roles(sizes=SIZES), samples)
    assert "onnx: the outputs given with 2 samples: y" in done.manifest.parity.checks
    cases = load_cases((done.published.folder / "golden.npz").read_bytes())
    given = [case for case in cases if case.kind == "sample"]
    assert [case.eager["y"].tobytes() for case in given] == [sample.outputs["y"].tobytes() for sample in samples]
    samples[1].outputs["y"][2, 1] += np.float32(1e-3)
    with pytest.raises(ExportError, match=r'sample 1: "y" at \[2, 1\] is .* 0\.001 apart'):
        adopt(path, "other", tmp_path / "repository", Roles(sizes=SIZES), samples)
    assert not (tmp_path / "repository" / "other").exists()


def test_samples_are_read(tmp_path):
    path = tmp_path / "samples.npz"
    arrays: dict[str, Any] = {"10/x": np.ones(2), "2/x": np.zeros(2), "2/output:y": np.zeros(3)}
    np.savez(path, **arrays)
    first, second = read_samples(path)
    assert (list(first.inputs), list(first.outputs)) == (["x"], ["y"])
    assert second.inputs["x"].tolist() == [1, 1]
    arrays = {"x": np.ones(2), "output:y": np.zeros(3)}
    np.savez(path, **arrays)
    assert [(list(each.inputs), list(each.outputs)) for each in read_samples(path)] == [(["x"], ["y"])]
    path.write_bytes(b"nothing")
    with pytest.raises(WrongArguments, match=r"is no \.npz file of arrays"):
        read_samples(path)


ASKED = {
    "an axis without a name": (
        lambda folder: with_lengths(folder, axes=(None, None)),
        [],
        'axis 0 of input "x" has no name; say what it is: --axis x.0=batch or --axis x.0=sequence',
    ),
    "no batch": (
        lambda folder: with_lengths(folder, axes=("n", "t")),
        [],
        'input "x" has no axis "batch": say which axis it is: --axis x.0=batch',
    ),
    "a frozen batch": (
        lambda folder: with_lengths(folder, axes=(3, "t")),
        ["--axis", "x.0=batch"],
        "--axis x.0=batch: this axis is always 3: the file was exported for one size of batch; export it again with "
        "the axis dynamic",
    ),
    "a role of nothing": (with_lengths, ["--state", "y=nothing"], '--state names "nothing"; there are x, len'),
    "lengths of nothing": (
        with_lengths,
        ["--lengths", "len=time"],
        "--lengths len=time: lengths are INT64 or INT32 of axes (batch), and count the steps of a sequence axis; there "
        "are sequence",
    ),
    "a wrong name": (with_lengths, ["--name", "a/b"], "the name 'a/b' cannot be a model's folder: use letters, "),
    "an output of nothing": (with_lengths, ["--output", "z"], 'there is no output "z"; the outputs are y'),
    "wrong labels": (
        with_lengths,
        ["--labels", "a,b"],
        "labels has 2 names, but no output has a last axis of that size",
    ),
}


def one_node(folder, operator, *, kind=TensorProto.FLOAT, axes=("batch", 2), second=None):
    """A file of one operator: x, of one kind and axes, and y; and an input that has a value."""
    inputs = [helper.make_tensor_value_info("x", kind, axes)]
    names = ["x"]
    if second is not None:
        inputs.append(helper.make_tensor_value_info(second, TensorProto.INT64, ["batch"]))
    nodes = [helper.make_node(operator, names, ["y"])]
    graph = helper.make_graph(nodes, "one", inputs, [helper.make_tensor_value_info("y", kind, [None] * len(axes))])
    path = folder / "one.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


ASKED |= {
    "strings": (
        lambda folder: one_node(folder, "Identity", kind=TensorProto.STRING),
        [],
        'input "x" is string; models take booleans, integers and floats',
    ),
    "all axes fixed": (
        lambda folder: one_node(folder, "Tanh", axes=(1, 2)),
        [],
        'input "x" has no axis "batch": all its axes are fixed, so it was exported for one size; export it again',
    ),
    "integers without a table": (
        lambda folder: one_node(folder, "Identity", kind=TensorProto.INT64),
        [],
        'input "x" is INT64, and the file does not say which values it takes: --integers x=LOW:HIGH, where HIGH is',
    ),
    "lengths of no axis": (
        lambda folder: one_node(folder, "Tanh", second="length"),
        [],
        'input "length" may hold lengths, but of which axis? Say --lengths length=AXIS, with one of no sequence axis; ',
    ),
    "another name for a known axis": (
        lambda folder: one_node(folder, "Tanh"),
        ["--axis", "y.0=rows"],
        '--axis y.0=rows: this axis is as large as "batch"',
    ),
    "no ONNX": (lambda folder: folder / "nothing.onnx", [], "there is no file "),
}


def test_integers_as_the_user_says(tmp_path, capsys):
    path = one_node(tmp_path, "Identity", kind=TensorProto.INT64)
    words = ["import", str(path), "--name", "same", "--repository", str(tmp_path / "repository")]
    assert main([*words, "--integers", "x=-3:4", "--axis", "y.1=numbers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "input   x INT64 (batch, axis 1: 2)  values -3 to 3",
        "output  y INT64 (batch, numbers: 2)",
        "batching joined: only requests of equal sizes share a run",
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--axis", "x=batch"], "'x=batch' is not of the form TENSOR.AT=NAME, such as input.0=batch"),
        (["--state", "h_n"], "'h_n' is not of the form NAME=NAME"),
        (["--integers", "x=5"], "'x=5' is not of the form NAME=LOW:HIGH"),
        (["--size", "x=5:a"], "'x=5:a' is not of the form NAME=LOW:HIGH"),
        (["--size", "x=5:4"], "'x=5:4' is not of the form NAME=LOW:HIGH"),
    ],
)
def test_options_of_another_form(option, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["import", "x.onnx", "--name", "x", *option])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"z": np.zeros((2, 2), np.float32)}, 'sample 0 has "output:z"; the outputs are y'),
        ({"y": np.zeros((2, 3), np.float32)}, 'sample 0: "output:y" has shape [2, 3]; the file gives [2, 2]'),
    ],
)
def test_expected_outputs_that_do_not_fit(outputs, message, tmp_path):
    sample = Sample({"x": np.ones((2, 2), np.float32)}, outputs)
    with pytest.raises(WrongArguments) as raised:
        adopt(one_node(tmp_path, "Tanh"), "one", tmp_path / "repository", samples=[sample])
    assert str(raised.value) == message


@pytest.mark.parametrize("what", ASKED)
def test_what_the_file_does_not_say_is_asked_for(what, tmp_path, capsys):
    make, options, message = ASKED[what]
    words = ["import", str(make(tmp_path)), "--name", "some", "--repository", str(tmp_path / "repository"), *options]
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"rnnserve import: {message}")
    assert not (tmp_path / "repository").exists()


def test_axes_are_renamed(tmp_path, capsys):
    words = ["import", str(with_lengths(tmp_path, axes=("n", "t"))), "--name", "by_hand"]
    words += ["--repository", str(tmp_path / "repository"), "--axis", "x.0=batch", "--axis", "len.0=batch"]
    words += ["--axis", "x.1=steps", "--axis", "y.2=scores", "--size", "steps=1:24"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "input   x FP32 (batch, steps: 1 to 24, axis 2: 2)"
    assert said[1] == 'input   len INT64 (batch)  lengths of "steps"; full length where a request leaves it out'
    assert said[2] == "output  y FP32 (batch, steps, scores: 3)  zeros after each row's length"
    assert said[3] == "batching padded: requests of different lengths share a run"
    assert "adopted: not compared with its framework" in said
    assert said[-1] == "`rnnserve serve --allow-unproven` serves it"


def test_external_data_is_refused(tmp_path, capsys):
    path = mean(tmp_path)
    onnx.save_model(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    assert main(["import", str(path), "--name", "mean", "--repository", str(tmp_path / "repository")]) == 1
    said = capsys.readouterr().err
    assert "keeps weights outside the file, in weights.bin" in said
    assert "save_as_external_data=False" in said


def test_frozen_sizes_are_told(tmp_path):
    """The batch is called dynamic, and the initial state in the graph has the sample's."""
    path = mean(tmp_path)
    model = onnx.load(path)
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 2, 4), np.float32), "frozen"))
    gru.input[5] = "frozen"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        WrongArguments, match=r'it does not run with "input" \[3, 5, 3\]; are sizes frozen in the graph'
    ):
        adopt(path, "mean", tmp_path / "repository", Roles(sizes=SIZES))


def test_an_input_with_a_value_stays_as_it_is_and_is_told(tmp_path, capsys):
    path = with_lengths(tmp_path)
    model = onnx.load(path)
    value = model.graph.initializer[0]
    model.graph.input.add(name=value.name).type.CopyFrom(helper.make_tensor_type_proto(value.data_type, value.dims))
    path.write_bytes(model.SerializeToString())
    done = adopt(path, "by_hand", tmp_path / "repository", Roles(sizes=SIZES))
    line = f'onnx: inputs that have values in the file keep these, and no request sets them: "{value.name}"'
    assert line in done.manifest.parity.checks
    assert [tensor.name for tensor in done.manifest.inputs] == ["x", "len"]
    assert main(["inspect", str(tmp_path / "repository"), "by_hand"]) == 0
    assert line in capsys.readouterr().out
