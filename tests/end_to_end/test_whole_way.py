"""From training to an answer, with the commands and the clients that people have."""

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import tritonclient.grpc as triton

from kit.served import served_process
from rnnserve.client import Client
from rnnserve.models import ARCHITECTURES, LABELS, generate_walks, load_checkpoint, pad

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


@pytest.fixture(scope="module")
def server(repository):
    """`rnnserve serve`, as a process."""
    with served_process(repository) as server:
        yield server


def eager(checkpoints, name, walks, lengths):
    with torch.no_grad():
        logits, *_ = load_checkpoint(checkpoints / name).classifier(torch.from_numpy(walks), torch.from_numpy(lengths))
    return logits.numpy()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tritonclient_gets_the_results_of_eager(server, checkpoints, name):
    walks, lengths = pad(generate_walks(1000, min_length=2, max_length=64, seed=2026)[0])
    found = classify_with_tritonclient(server.port, name, walks, lengths)
    expected = eager(checkpoints, name, walks, lengths)
    assert np.abs(found - expected).max() <= 4e-6
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_client_gets_the_correct_results_of_eager(server, checkpoints, name):
    points, directions = generate_walks(1000, min_length=2, max_length=64, seed=2027)
    with Client(server.address) as client:
        found = client.classify(name, points)
        outputs = client.predict(name, points, ["output"])
    walks, lengths = pad(points)
    expected = eager(checkpoints, name, walks, lengths)
    assert [result.label for result in found] == [LABELS[index] for index in expected.argmax(axis=1)]
    assert np.mean([result.index == direction for result, direction in zip(found, directions, strict=True)]) >= 0.995
    assert [len(row["output"]) for row in outputs] == [len(walk) for walk in points]


def test_server_never_loads_torch_or_onnx(server):
    """Its address space holds every library that it has loaded."""
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        pytest.skip("there is no /proc here")
    loaded = maps.read_text()
    assert "onnxruntime" in loaded
    assert "/torch/" not in loaded
    assert "/onnx/" not in loaded
