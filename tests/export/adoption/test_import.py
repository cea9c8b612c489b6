"""ONNX files of any origin: roles found, nothing proven that was not, and results that replay."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from kit.adopted_files import SIZES, Mean, mean, with_lengths, words
from kit.signed_versions import make_key
from rnnserve.cli import main
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.adoption.sample_file import Sample, read_samples
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.protos.golden import load_cases, replay
from rnnserve.protos.signing.signed_version import read_signed_in_place


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
    assert sorted(version.files) == ["golden.npz", "model.onnx", "model.parts.onnx"]
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


def test_an_adopted_version_is_signed(tmp_path, capsys):
    key = make_key(tmp_path, "ours")
    words_file, repository = tmp_path / "words.onnx", tmp_path / "repository"
    words(tmp_path)
    command = ["import", str(words_file), "--name", "words", "--size", "time=1:24", "--repository", str(repository)]
    assert main([*command, "--sign-key", str(key.private)]) == 0
    version = repository / "words" / "1"
    signed = read_signed_in_place(version, [key.key.public])
    read_version(version, signed=signed.files)
    assert f"signed with the key {key.key.id}, sequence 1\n" in capsys.readouterr().out
