"""Fixtures of tests that run the documentation: a server, and a folder with what pages take for given."""

import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from kit.certificates import write_certificates
from kit.paths import ROOT
from kit.served import served_process

_FOREIGN = """
<ir_version: 10, opset_import: ["": 18]>
foreign (float[n, t, 2] x) => (float[n, t, 2] y) <int64 axis = {1}> { y = CumSum (x, axis) }
"""

_VOICE_DETECTOR = """
<ir_version: 8, opset_import: ["": 16]>
voice (float[?, ?] input, float[2, ?, 128] state, int64 sr) => (float[?, 1] output, float[?, ?, ?] stateN)
<float hundred = {100}, float five = {5}, float half = {0.5}, float zero = {0}> {
    loudness = Abs (input)  mean = ReduceMean <axes = [1], keepdims = 1> (loudness)
    scaled = Mul (mean, hundred)  logit = Sub (scaled, five)
    rate = Cast <to = 1> (sr)  nothing = Mul (rate, zero)  sum = Add (logit, nothing)  output = Sigmoid (sum)
    old = Mul (state, half)  stateN = Add (old, mean)
}
"""
"""An ONNX file with the interface of silero-vad whose probability is near 1 for loud windows."""


@pytest.fixture(scope="session")
def port(repository: Path) -> Iterator[int]:
    """Port of a server of the published models."""
    with served_process(repository) as server:
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
    onnx.save(onnx.parser.parse_model(_FOREIGN), folder / "foreign.onnx")
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    samples: dict[str, Any] = {"x": x, "output:y": x.cumsum(1)}
    np.savez(folder / "samples.npz", **samples)
    onnx.save(onnx.parser.parse_model(_VOICE_DETECTOR), folder / "silero_vad.onnx")
    _write_sound(folder / "talk.wav")


def _write_sound(path: Path) -> None:
    """Write three seconds of silence with noise from 0.8 to 2.27 s."""
    sound = np.zeros(3 * 16_000)
    sound[12_800:36_352] = np.random.default_rng(0).normal(scale=0.2, size=23_552)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound.clip(-1, 1) * 32_767).astype("<i2").tobytes())
