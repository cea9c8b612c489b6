"""More of `rnnserve import`: options, samples, signatures, and what it refuses."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from kit.imported_files import SIZES, mean, with_lengths, words
from kit.signed_versions import make_key
from rnnserve.cli import main
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.export.onnx_import.samples import read_samples
from rnnserve.protos.artifact import read_version
from rnnserve.protos.signing.signed_version import read_signed_in_place


def test_samples_are_read_from_a_file(tmp_path):
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
    with pytest.raises(WrongArguments, match=r"is not an .npz file of arrays"):
        read_samples(path)


def test_input_with_a_value_keeps_it_and_is_reported(tmp_path, capsys):
    path = with_lengths(tmp_path)
    model = onnx.load(path)
    value = model.graph.initializer[0]
    model.graph.input.add(name=value.name).type.CopyFrom(helper.make_tensor_type_proto(value.data_type, value.dims))
    path.write_bytes(model.SerializeToString())
    done = import_onnx(path, "by_hand", tmp_path / "repository", Roles(sizes=SIZES))
    line = f'onnx: inputs with values in the file keep these values; requests cannot set them: "{value.name}"'
    assert line in done.manifest.parity.checks
    assert [tensor.name for tensor in done.manifest.inputs] == ["x", "len"]
    assert main(["inspect", str(tmp_path / "repository"), "by_hand"]) == 0
    assert line in capsys.readouterr().out


def test_imported_version_is_signed(tmp_path, capsys):
    key = make_key(tmp_path, "ours")
    words_file, repository = tmp_path / "words.onnx", tmp_path / "repository"
    words(tmp_path)
    command = ["import", str(words_file), "--name", "words", "--size", "time=1:24", "--repository", str(repository)]
    assert main([*command, "--sign-key", str(key.private)]) == 0
    version = repository / "words" / "1"
    signed = read_signed_in_place(version, [key.key.public])
    read_version(version, signed=signed.files)
    assert f"signed with the key {key.key.id}, sequence 1\n" in capsys.readouterr().out


def test_axes_are_renamed_as_requested(tmp_path, capsys):
    words = ["import", str(with_lengths(tmp_path, axes=("n", "t"))), "--name", "by_hand"]
    words += ["--repository", str(tmp_path / "repository"), "--axis", "x.0=batch", "--axis", "len.0=batch"]
    words += ["--axis", "x.1=steps", "--axis", "y.2=scores", "--size", "steps=1:24"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "input   x FP32 (batch, steps: 1 to 24, axis 2: 2)"
    assert said[1] == 'input   len INT64 (batch)  lengths of "steps"; full length if a request leaves it out'
    assert said[2] == "output  y FP32 (batch, steps, scores: 3)  zeros after each row's length"
    assert said[3] == "batching padded: requests of different lengths share a batch"
    assert "adopted: not compared with its framework" in said
    assert said[-1] == "`rnnserve serve --allow-unproven` serves it"


def test_weights_in_a_second_file_move_into_the_version(tmp_path):
    """As torch.onnx.export(dynamo=True) writes them."""
    path = mean(tmp_path)
    weights = [onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    onnx.save_model(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    done = import_onnx(path, "mean", tmp_path / "repository", Roles(sizes=SIZES))
    served = onnx.load(done.published.folder / "model.onnx").graph.initializer
    assert all(map(np.array_equal, weights, map(onnx.numpy_helper.to_array, served)))
    (path.parent / "weights.bin").unlink()
    with pytest.raises(WrongArguments, match=r"weights\.bin"):
        import_onnx(path, "mean", tmp_path / "repository", Roles(sizes=SIZES))


def test_frozen_batch_is_refused_with_a_remedy(tmp_path):
    """The batch is called dynamic, and the initial state in the graph has the sample's."""
    for rows, said in (
        (2, "of the tried sizes. Does the graph contain a fixed size"),
        (1, "computes one row at a time; "),
    ):
        path = mean(tmp_path)
        model = onnx.load(path)
        gru = next(node for node in model.graph.node if node.op_type == "GRU")
        state = np.zeros((1, rows, 4), np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(state, "frozen"))
        gru.input[5] = "frozen"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(WrongArguments, match=said):
            import_onnx(path, "mean", tmp_path / "repository", Roles(sizes=SIZES))
