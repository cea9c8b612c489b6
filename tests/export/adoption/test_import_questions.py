"""What `rnnserve import` asks for where a file does not say it, the options that answer, and what it refuses."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kit.adopted_files import SIZES, mean, one_node, with_lengths
from rnnserve.cli import main
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.adoption.sample_file import Sample
from rnnserve.export.errors import WrongArguments

ASKED = {
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
    "strings": (
        lambda folder: one_node(folder, "Identity", kind=TensorProto.STRING),
        [],
        'input "x" is string; models take booleans, integers and floats',
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
