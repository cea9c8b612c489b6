"""ONNX files of any origin: roles are found, nothing is called proven that was not, and results replay."""

import numpy as np
import onnx
import pytest
import torch

from kit.examples import ALONE
from kit.foreign_files import chunks, flattened, quantised, squeezed, unbatched
from kit.graph_text import graph_of
from kit.imported_files import SIZES, Mean, mean, one_node, with_lengths, words
from rnnserve.cli import main
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.export.onnx_import.samples import Sample
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.protos.golden import load_cases, replay


def test_roles_of_tensors_are_found(tmp_path):
    done = import_onnx(words(tmp_path), "words", tmp_path / "repository", Roles(sizes={"time": (1, 24)}))
    tokens, h_0 = done.manifest.inputs
    assert [(axis.name, axis.size) for axis in tokens.axes] == [("batch", -1), ("time", -1)]
    assert (tokens.integers.low, tokens.integers.high) == (0, 11)
    assert h_0.default == manifest_pb2.DEFAULT_ZEROS
    output, h_n = done.manifest.outputs
    assert h_n.continues_as == "h_0"
    assert [axis.name for axis in output.axes] == ["batch", "time", "axis 2"]
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_JOINED
    assert 'no input holds the lengths of the axis "time"' in done.manifest.batching.reasons[0]


def test_states_named_like_the_operators_are_found(tmp_path):
    model = onnx.load(words(tmp_path))
    for node in model.graph.node:
        node.input[:] = ["initial_h" if name == "h_0" else name for name in node.input]
        node.output[:] = ["Y_h" if name == "h_n" else name for name in node.output]
    model.graph.input[1].name, model.graph.output[1].name = "initial_h", "Y_h"
    onnx.save(model, tmp_path / "renamed.onnx")
    done = import_onnx(tmp_path / "renamed.onnx", "m", tmp_path / "repository", Roles(sizes={"time": (1, 24)}))
    assert done.manifest.outputs[1].continues_as == "initial_h"


def test_sizes_of_the_sample_that_a_file_declares_inside_have_no_effect(tmp_path):
    model = onnx.load(with_lengths(tmp_path))
    model.graph.node.append(onnx.helper.make_node("Tanh", ["y"], ["z"]))
    y = model.graph.output.pop()
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(y.name, onnx.TensorProto.FLOAT, ["batch", 5, 3]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["batch", 5, 3]))
    onnx.save(model, tmp_path / "fixed.onnx")
    done = import_onnx(tmp_path / "fixed.onnx", "m", tmp_path / "repository", Roles(sizes=SIZES))
    assert [(axis.name, axis.size) for axis in done.manifest.outputs[0].axes][:2] == [("batch", -1), ("sequence", -1)]


def test_imported_version_is_marked_as_not_compared_and_its_results_replay(tmp_path):
    done = import_onnx(with_lengths(tmp_path), "by_hand", tmp_path / "repository", Roles(sizes=SIZES))
    version = read_version(done.published.folder)
    manifest = version.manifest
    assert manifest.origin == manifest_pb2.ORIGIN_ADOPTED
    assert manifest.parity.checks[0] == "adopted: not compared with its framework"
    assert not manifest.parity.distances
    assert manifest.parity.samples == 0
    assert sorted(version.files) == ["golden.npz", "model.onnx", "model.parts.onnx"]
    assert manifest.inputs[1].lengths_of == "sequence"
    assert manifest.outputs[0].zeros_after_lengths
    assert manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    cases = load_cases(version.files["golden.npz"])
    assert {case.kind for case in cases} == {"step", "random"}
    limits = manifest.replay_limits[0]
    runner = OnnxRunner(version.files["model.onnx"])
    assert replay(cases, runner, limits) == []

    assert replay(cases, lambda inputs: {"y": runner(inputs)["y"] + np.float32(1e-3)}, limits)


def test_only_outputs_that_are_zero_after_the_lengths_are_marked(tmp_path):
    model = onnx.load(with_lengths(tmp_path))
    model.graph.node.append(onnx.helper.make_node("Tanh", ["x"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [None] * 3))
    onnx.save(model, tmp_path / "two.onnx")
    done = import_onnx(tmp_path / "two.onnx", "two", tmp_path / "repository", Roles(sizes=SIZES))
    assert {tensor.name: tensor.zeros_after_lengths for tensor in done.manifest.outputs} == {"y": True, "z": False}


def test_rows_that_change_each_other_are_served_alone(tmp_path):
    model = graph_of("mean = ReduceMean <keepdims = 1> (x, _0)  y = Sub (x, mean)")
    del model.graph.input[1]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 3))
    onnx.save(model, tmp_path / "unsafe.onnx")
    done = import_onnx(tmp_path / "unsafe.onnx", "unsafe", tmp_path / "repository", Roles(sizes=SIZES))
    assert done.manifest.batching.mode == ALONE
    assert '"y": ReduceMean "mean" averages over the rows of the batch' in done.manifest.batching.reasons[0]


def test_expected_results_become_golden_tests_and_wrong_ones_are_refused(tmp_path):
    path = mean(tmp_path)
    random = np.random.default_rng(3)
    samples = []
    for length in (4, 9):
        array = random.standard_normal((3, length, 3)).astype(np.float32)
        with torch.no_grad():
            samples.append(Sample({"input": array}, {"y": Mean().eval()(torch.from_numpy(array)).numpy()}))
    done = import_onnx(path, "mean", tmp_path / "repository", Roles(sizes=SIZES), samples)
    assert "onnx: outputs equal those of 2 samples: y" in done.manifest.parity.checks
    cases = load_cases((done.published.folder / "golden.npz").read_bytes())
    given = [case for case in cases if case.kind == "sample"]
    assert [case.eager["y"].tobytes() for case in given] == [sample.outputs["y"].tobytes() for sample in samples]
    samples[1].outputs["y"][2, 1] += np.float32(1e-3)
    with pytest.raises(ExportError, match=r'sample 1: "y" at \[2, 1\] is .* 0\.001 apart'):
        import_onnx(path, "other", tmp_path / "repository", Roles(sizes=SIZES), samples)
    assert not (tmp_path / "repository" / "other").exists()


@pytest.mark.parametrize("make", [unbatched, flattened, squeezed])
def test_file_that_computes_one_row_at_a_time_is_refused_with_a_remedy(make, tmp_path):
    with pytest.raises(WrongArguments, match=r"computes one row at a time; .* dynamic batch axis \(.*with \d rows, "):
        import_onnx(make(tmp_path), "m", tmp_path / "repository")


def test_old_operator_set_is_refused_with_a_remedy(tmp_path):
    path = unbatched(tmp_path, opset=8)
    with pytest.raises(WrongArguments, match=r"operators of set 8; expected 9 or later.* onnx\.version_converter"):
        import_onnx(path, "m", tmp_path / "repository")


def test_int8_with_one_scale_per_batch_is_served_alone(tmp_path):
    done = import_onnx(quantised(tmp_path, ("N", "T", 2), loud=True), "m", tmp_path / "repository")
    why = "it scales numbers to int8 by the largest value in the batch, so each row changes the results of the others"
    assert (done.manifest.batching.mode, list(done.manifest.batching.reasons)) == (ALONE, [why])
    assert "may read other steps" in done.manifest.parts.reason


def test_import_names_every_missing_option(tmp_path, capsys):
    path = chunks(tmp_path)
    words = ["import", str(path), "--name", "m", "--repository", str(tmp_path / "repository")]
    assert main(words) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "Add these options with your values: --constant sr=VALUE (" in said
    assert 'input "sr" is a single number (int64) for the whole batch' in said
    assert main([*words, "--constant", "sr=16000"]) == 1
    assert "Name the sizes that the model accepts: --size sequence=SIZE." in capsys.readouterr().err
    assert main([*words, "--constant", "sr=16000", "--size", "sequence=4"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "input   x FP32 (batch, sequence: 4)",
        "input   state FP32 (axis 0: 1, batch, axis 2: 3)  zeros if a request leaves it out",
        "output  p FP32 (batch, axis 1: 1)",
        'output  stateN FP32 (axis 0: 1, batch, axis 2: 3)  send it as "state" to continue',
    ]
    assert "batching joined: only requests of equal sizes share a batch" in said
    assert 'onnx: inputs with the value from --constant in every request: "sr" is 16000' in said


def with_map(folder):
    model = onnx.load(one_node(folder, "Identity"))
    of_map = onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, model.graph.output[0].type)
    zip_map = onnx.helper.make_node("ZipMap", ["y"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    model.graph.node.append(zip_map)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    model.graph.output.append(onnx.helper.make_value_info("p", onnx.helper.make_sequence_type_proto(of_map)))
    onnx.save(model, folder / "map.onnx")
    return folder / "map.onnx"


ASKED = {
    "a map": (with_map, [], 'output "p" is a map, but requests have tensors'),
    "random numbers": (lambda folder: one_node(folder, "RandomNormalLike"), [], "draws random numbers"),
    "integers without a table": (
        lambda folder: one_node(folder, "Identity", kind=onnx.TensorProto.INT64),
        [],
        "--integers x=LOW:HIGH",
    ),
    "a wrong name": (with_lengths, ["--name", "a/b"], "cannot name a model's folder"),
    "an output of nothing": (with_lengths, ["--output", "z"], 'there is no output "z"; the outputs are y'),
    "wrong labels": (with_lengths, ["--labels", "a,b"], "no output has a last axis of that size"),
    "no file": (lambda folder: folder / "nothing.onnx", [], "there is no file "),
}


@pytest.mark.parametrize("what", ASKED)
def test_import_refuses_unpublishable_files_in_one_line(what, tmp_path, capsys):
    make, options, phrase = ASKED[what]
    words = ["import", str(make(tmp_path)), "--name", "some", "--repository", str(tmp_path / "repository"), *options]
    assert main(words) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("rnnserve import: ")
    assert phrase in said
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    "option",
    [
        ["--axis", "x=batch"],
        ["--axis", ".0=batch"],
        ["--state", "h_n"],
        ["--integers", "x=5"],
        ["--size", "x=5:a"],
        ["--size", "x=5:4"],
    ],
)
def test_malformed_option_is_refused_with_its_form(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["import", "x.onnx", "--name", "x", *option])
    assert ended.value.code == 2
    assert f"'{option[1]}' does not have the form " in capsys.readouterr().err
