import asyncio
import inspect
import socket

import numpy as np
import pytest

from rnnserve.client import AsyncClient, Client, InvalidRequest, ResourceExhausted, Unavailable
from rnnserve.client.channel import channel_options


@pytest.mark.parametrize(
    "settings",
    [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"max_rows": 0}, {"max_request_bytes": 0}],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_that_cannot_work_are_refused(kind, settings):
    with pytest.raises(InvalidRequest, match=next(iter(settings))):
        kind("127.0.0.1:8001", **settings)


def test_clients_ping_no_more_often_than_grpc_servers_allow():
    assert int(dict(channel_options(1))["grpc.keepalive_time_ms"]) >= 300_000


def test_answers_larger_than_grpcs_own_limit_are_taken_up_to_a_limit_that_can_be_set(connect):
    large = {"input": np.zeros((5 << 20) // 4, np.float32)}
    assert connect().infer("echo", large)["input"].nbytes == 5 << 20
    with pytest.raises(ResourceExhausted, match="larger than max"):
        connect(max_message_bytes=4 << 20).infer("echo", large)


def test_a_closed_client_says_so(connect):
    client = connect()
    assert client.is_live()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed: create a new one"):
        client.is_live()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_clients_are_context_managers(url, kind):
    async def ask():
        async with AsyncClient(url) as client:
            assert await client.is_live()
        return client

    if kind == "async":
        client = asyncio.run(ask())
    else:
        with Client(url) as client:
            assert client.is_live()
    assert client._channels.is_closed


def test_a_missing_server_is_unavailable_and_not_live(connect):
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
