"""Asks a server with tritonclient, in a process of its own: `python triton_peer.py PORT MODEL WALKS.npz LOGITS.npy`.

WALKS.npz holds `input` (walks, longest, 2) float32 and `lengths` (walks) int64. Each walk is a request of its own, of
its own length, 64 in flight at a time. LOGITS.npy gets (walks, 2) float32, in the walks' order.
"""

import sys
import threading

import numpy as np
import tritonclient.grpc as triton


def main(port: str, model: str, walks: str, logits: str) -> None:
    data = np.load(walks)
    found = np.full((len(data["lengths"]), 2), np.nan, np.float32)
    failures: list[str] = []
    in_flight = threading.Semaphore(64)
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert [tensor.name for tensor in client.get_model_metadata(model).inputs] == ["input", "lengths", "h_0"]
        assert client.get_model_config(model).config.name == model

        def answered(index, result, error):
            if error is not None:
                failures.append(str(error))
            elif result.get_response().id != str(index):
                failures.append(f"asked {index}, answered {result.get_response().id}")
            else:
                found[index] = result.as_numpy("logits")[0]
            in_flight.release()

        for index, (points, length) in enumerate(zip(data["input"], data["lengths"], strict=True)):
            tensor = triton.InferInput("input", [1, int(length), 2], "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(points[None, :length]))
            in_flight.acquire()
            client.async_infer(
                model,
                [tensor],
                lambda result, error, index=index: answered(index, result, error),
                outputs=[triton.InferRequestedOutput("logits")],
                request_id=str(index),
            )
        for _ in range(64):
            assert in_flight.acquire(timeout=30)
    assert not failures, failures[:3]
    np.save(logits, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
