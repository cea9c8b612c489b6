"""Asks a server with tritonclient, the client that people have."""

import threading

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton

__all__ = ["classify_with_tritonclient"]

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
