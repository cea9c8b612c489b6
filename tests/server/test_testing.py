"""The helper for other people's tests."""

import socket

import pytest

from kit.waiting import PATIENCE
from rnnserve.client import Client, InvalidRequest
from rnnserve.server import Settings
from rnnserve.server.testing import serve

WALK = [(-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)]


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_server_runs_only_inside_the_block(repository):
    with serve(str(repository)) as server:
        with Client(server.address) as client:
            assert client.classify("direction_simple", [WALK])[0].label == "clockwise"
        assert connects(server.address)
    assert not connects(server.address)


def test_settings_apply_except_host_and_port(repository):
    settings = Settings(repository / "other", host="0.0.0.0", grpc_port=1, max_sequence=2)
    with serve(repository, settings) as server, Client(server.address) as client:
        assert server.address == f"127.0.0.1:{server.port}"
        with pytest.raises(InvalidRequest, match="--max-sequence"):
            client.classify("direction_simple", [WALK])


def test_server_stops_when_the_block_raises(repository):
    with pytest.raises(KeyError), serve(repository) as server:
        raise KeyError
    assert not connects(server.address)
