"""From training to an answer, with the commands and the clients that people have."""

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import tritonclient.grpc as triton

from kit.served import served
from rnnserve.cli import main
from rnnserve.client import Client
from rnnserve.models import ARCHITECTURES, LABELS, generate_walks, load_checkpoint, pad
from rnnserve.protos.artifact import read_version

_IN_FLIGHT = 64


def classify_with_tritonclient(
    port: int, model: str, walks: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Send each walk as a request of its own, of its own length, 64 in flight at a time.

    Args:
        port: The server's, on 127.0.0.1.
        model: The model's name.
        walks: (walks, longest, 2), float32.
        lengths: (walks), int64.

    Returns:
        Logits (walks, 2), float32, in the order of the walks.
    """
    found = np.full((len(lengths), 2), np.nan, np.float32)
    failures: list[str] = []
    in_flight = threading.Semaphore(_IN_FLIGHT)

    def read_answer(index, result, error):
        if error is not None:
            failures.append(str(error))
        elif result.get_response().id != str(index):
            failures.append(f"asked {index}, answered {result.get_response().id}")
        else:
            found[index] = result.as_numpy("logits")[0]
        in_flight.release()

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert [tensor.name for tensor in client.get_model_metadata(model).inputs] == ["input", "lengths", "h_0"]
        assert client.get_model_config(model).config.name == model
        for index, (points, length) in enumerate(zip(walks, lengths, strict=True)):
            tensor = triton.InferInput("input", [1, int(length), 2], "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(points[None, :length]))
            in_flight.acquire()
            client.async_infer(
                model,
                [tensor],
                lambda result, error, index=index: read_answer(index, result, error),
                outputs=[triton.InferRequestedOutput("logits")],
                request_id=str(index),
            )
        for _ in range(_IN_FLIGHT):
            assert in_flight.acquire(timeout=30)
    assert not failures, failures[:3]
    return found


RNNSERVE = Path(sys.executable).parent / "rnnserve"  # as people run it


@pytest.fixture(scope="module")
def server(repository):
    """`rnnserve serve`, as a process."""
    with served(repository, "process") as server:
        yield server


def eager(checkpoints, name, walks, lengths):
    with torch.no_grad():
        logits, *_ = load_checkpoint(checkpoints / name).classifier(torch.from_numpy(walks), torch.from_numpy(lengths))
    return logits.numpy()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tritonclient_gets_what_eager_gives(server, checkpoints, name):
    walks, lengths = pad(generate_walks(1000, min_length=2, max_length=64, seed=2026)[0])
    found = classify_with_tritonclient(server.port, name, walks, lengths)
    expected = eager(checkpoints, name, walks, lengths)
    assert np.abs(found - expected).max() <= 4e-6
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_our_client_gets_what_eager_gives_and_it_is_right(server, checkpoints, name):
    points, directions = generate_walks(1000, min_length=2, max_length=64, seed=2027)
    with Client(server.address) as client:
        found = client.classify(name, points, output=True)
    walks, lengths = pad(points)
    expected = eager(checkpoints, name, walks, lengths)
    assert [result.label for result in found] == [LABELS[index] for index in expected.argmax(axis=1)]
    assert np.mean([result.index == direction for result, direction in zip(found, directions, strict=True)]) >= 0.995
    for result, walk in zip(found, points, strict=True):
        assert result.output.shape[0] == len(walk)


def test_infer_reads_a_file_and_prints_json(server, tmp_path, capsys):
    (tmp_path / "walks.json").write_text("[[[-1, -1], [-1, 1], [1, 1]], [[1, 1], [-1, 1]]]")
    arguments = ["infer", "direction_simple", str(tmp_path / "walks.json"), "--url", server.address]
    assert main([*arguments, "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [sequence["label"] for sequence in said["sequences"]] == ["clockwise", "counter-clockwise"]


def test_the_server_never_loads_torch_or_onnx(server):
    """Its address space holds every library that it has loaded."""
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("there is no /proc here")
    loaded = maps.read_text()
    assert "onnxruntime" in loaded
    assert "/torch/" not in loaded
    assert "/onnx/" not in loaded


@pytest.mark.parametrize(("name", "states"), [("simple", 1), ("stacked", 2), ("bidirectional", 2)])
def test_manifest_records_parity_and_the_shapes_of_hidden_states(repository, name, states):
    manifest = read_version(repository / f"direction_{name}" / "1").manifest
    shapes = {tensor.name: [axis.size for axis in tensor.axes] for tensor in (*manifest.inputs, *manifest.outputs)}
    directions = 2 if name == "bidirectional" else 1
    assert shapes == {
        "input": [-1, -1, 2],
        "lengths": [-1],
        "h_0": [states, -1, 16],
        "logits": [-1, 2],
        "output": [-1, -1, directions * 16],
        "h_n": [states, -1, 16],
    }
    assert {tensor.name: tensor.continues_as for tensor in manifest.outputs if tensor.continues_as} == {"h_n": "h_0"}
    kinds, tensors = ("step", "sample", "random"), ("logits", "output", "h_n")
    assert {(row.input, row.tensor) for row in manifest.parity.distances} == set(itertools.product(kinds, tensors))
    assert max(row.onnx_from_eager_max for row in manifest.parity.distances) < 1e-3


def test_a_port_in_use_is_one_line(server, repository, tmp_path):
    command = [RNNSERVE, "serve", repository, "--no-http", "--grpc-port", str(server.port), "--log-level", "error"]
    # Where a user has no home, onnxruntime warns that it cannot keep an identifier there.
    environment = os.environ | {"HOME": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert run.returncode == 1
    assert run.stderr == f"rnnserve serve: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"
