"""A gRPC server among clients that vanish or are many, and one that starts again and again."""

import socket

import grpc
import numpy as np

from kit.inference_requests import request
from kit.served import new_channel

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def test_vanished_clients_leave_no_resources(server, stub):
    """Connections that end in the middle of a handshake, a frame, or a run."""
    payload = request("direction_stacked", {"input": np.zeros((256, 64, 2), np.float32)}).SerializeToString()
    for start in (b"", b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(start)
    for _ in range(5):
        with new_channel(server.port) as channel:
            calls = [channel.unary_unary(METHOD).future(payload) for _ in range(8)]  # type: ignore[arg-type]
        assert all(call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK) for call in calls)
    assert stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)})).outputs
