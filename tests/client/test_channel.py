import inspect
import socket
from typing import Any

import numpy as np
import pytest

from rnnserve.client import AsyncClient, Client, InvalidRequest, ResourceExhausted, Unavailable


def test_invalid_channel_settings_are_refused():
    wrong = [("timeout", 0), ("timeout", -1), ("timeout", float("nan")), ("max_rows", 0), ("max_request_bytes", 0)]
    for kind in (Client, AsyncClient):
        for name, value in wrong:
            setting: dict[str, Any] = {name: value}
            with pytest.raises(InvalidRequest, match=name):
                kind("127.0.0.1:8001", **setting)


def test_responses_can_be_as_large_as_max_message_bytes(connect):
    large = {"input": np.zeros((5 << 20) // 4, np.float32)}
    assert connect().infer("echo", large)["input"].nbytes == 5 << 20  # gRPC's own limit is 4 MiB
    with pytest.raises(ResourceExhausted, match="larger than max"):
        connect(max_message_bytes=4 << 20).infer("echo", large)


def test_closed_client_raises(url, connect):
    client = connect()
    assert client.is_live()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed; create a new one"):
        client.is_live()
    with Client(url) as client:
        assert client.is_live()
    with pytest.raises(RuntimeError, match="closed"):
        client.is_live()


def test_missing_server_is_unavailable_and_not_live(connect):
    with socket.socket() as bound:  # bound but not listening, so that no other program answers there
        bound.bind(("127.0.0.1", 0))
        client = connect(f"127.0.0.1:{bound.getsockname()[1]}")
        assert not client.is_live()
        assert not client.is_ready()
        with pytest.raises(Unavailable, match="failed to connect"):
            client.classify("sums", [[(0, 1)]])


def test_both_clients_have_the_same_methods_with_the_same_arguments():
    def methods(kind):
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in vars(kind).items()
            if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)
