"""Fixtures of tests that run the documentation: a server, and a folder with what pages take for given."""

import shutil
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
    """Write models, examples, certificates, and an ONNX file from elsewhere with samples."""
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
