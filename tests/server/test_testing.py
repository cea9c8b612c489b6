"""The helper for other people's tests."""

import socket

import pytest

from kit.waiting import PATIENCE
from rnnserve.client import Client, InvalidRequest
from rnnserve.server import Settings
from rnnserve.server.errors import StartError
from rnnserve.server.testing import serve

WALK = [(-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)]


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_it_answers_inside_the_block_and_is_gone_after_it(repository):
    with serve(str(repository)) as server:
        with Client(server.address) as client:
            assert client.classify("direction_simple", [WALK])[0].label == "clockwise"
        assert connects(server.address)
    assert not connects(server.address)


def test_settings_hold_except_where_it_listens(repository):
    settings = Settings(repository / "other", host="0.0.0.0", grpc_port=1, max_sequence=2)
    with serve(repository, settings) as server, Client(server.address) as client:
        assert server.address == f"127.0.0.1:{server.port}"
        with pytest.raises(InvalidRequest, match="--max-sequence"):
            client.classify("direction_simple", [WALK])


def test_a_failure_in_the_block_stops_the_server_too(repository):
    with pytest.raises(KeyError), serve(repository) as server:
        raise KeyError
    assert not connects(server.address)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StartError, match="there is no folder"), serve(tmp_path / "nowhere"):
        pass
