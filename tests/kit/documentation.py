"""Fixtures of tests that run the documentation: a server, and a folder with what pages take for given."""

import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kit.certificates import write_certificates
from kit.paths import ROOT
from kit.served import served

__all__ = ["folder", "port", "prepare_folder"]


@pytest.fixture(scope="session")
def port(repository: Path) -> Iterator[int]:
    """Port of a server of the published models."""
    with served(repository, "process") as server:
        yield server.port


@pytest.fixture
def folder(repository: Path, checkpoints: Path, tmp_path: Path) -> Path:
    """A folder with what pages take for given."""
    prepare_folder(tmp_path, repository, checkpoints)
    return tmp_path


def prepare_folder(folder: Path, repository: Path, checkpoints: Path) -> None:
    """Write models, examples, certificates, an ONNX file with samples, and a voice detector with a sound."""
    shutil.copytree(repository, folder / "repository")
    shutil.copytree(checkpoints, folder / "checkpoints")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("zoo"))
    files = write_certificates(folder)
    shutil.copy(files.ca, folder / "clients.pem")
    nodes = [onnx.helper.make_node("CumSum", ["x", "axis"], ["y"])]
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [], [1])
    described = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "t", 2]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "foreign", described[:1], described[1:], [axis])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), folder / "foreign.onnx")
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    samples: dict[str, Any] = {"x": x, "output:y": x.cumsum(1)}
    np.savez(folder / "samples.npz", **samples)
    _write_voice_detector(folder / "silero_vad.onnx")
    _write_sound(folder / "talk.wav")


def _write_voice_detector(path: Path) -> None:
    """Write an ONNX file with the interface of silero-vad whose probability is near 1 for loud windows."""
    nodes = [
        onnx.helper.make_node("Abs", ["input"], ["loudness"]),
        onnx.helper.make_node("ReduceMean", ["loudness"], ["mean"], axes=[1], keepdims=1),
        onnx.helper.make_node("Mul", ["mean", "hundred"], ["scaled"]),
        onnx.helper.make_node("Sub", ["scaled", "five"], ["logit"]),
        onnx.helper.make_node("Cast", ["sr"], ["rate"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", ["rate", "zero"], ["nothing"]),
        onnx.helper.make_node("Add", ["logit", "nothing"], ["sum"]),
        onnx.helper.make_node("Sigmoid", ["sum"], ["output"]),
        onnx.helper.make_node("Mul", ["state", "half"], ["old"]),
        onnx.helper.make_node("Add", ["old", "mean"], ["stateN"]),
    ]
    weights = {"hundred": 100, "five": 5, "half": 0.5, "zero": 0}
    constants = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    described = onnx.helper.make_tensor_value_info
    floats, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = onnx.helper.make_graph(
        nodes,
        "voice",
        [
            described("input", floats, [None, None]),
            described("state", floats, [2, None, 128]),
            described("sr", int64, []),
        ],
        [described("output", floats, [None, 1]), described("stateN", floats, [None, None, None])],
        constants,
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8), path)


def _write_sound(path: Path) -> None:
    """Write three seconds of silence with noise from 0.8 to 2.27 s."""
    sound = np.zeros(3 * 16_000)
    sound[12_800:36_352] = np.random.default_rng(0).normal(scale=0.2, size=23_552)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound.clip(-1, 1) * 32_767).astype("<i2").tobytes())
