"""Which connections are ended because they lie idle, and what those that are open may keep."""

import contextlib
import socket
import time

import pytest

from rnnserve.server.connections.idle_connections import IdleConnections

MUCH = bytes(128 << 10)


class Scene:
    """A port of this process, and clients that are connected to it.

    Attributes:
        needed: What is not to be ended.
        accepted: The connections as this process has accepted them.
    """

    def __init__(self, stack):
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = self._listener.getsockname()[1]
        self.needed, self.accepted = set(), []

    def client(self, sent):
        """A connection on which so many bytes have been sent, and read."""
        client = self._stack.enter_context(socket.create_connection(self._listener.getsockname()))
        accepted = self._stack.enter_context(self._listener.accept()[0])
        self.accepted.append(accepted)
        client.sendall(sent)
        assert len(accepted.recv(len(sent), socket.MSG_WAITALL)) == len(sent)
        client.settimeout(0.2)
        return client

    def idle(self, seconds=0.0, *, can_tell=False):
        return IdleConnections(lambda: self.port, lambda: self.needed, idle_seconds=seconds, can_tell=can_tell)


@pytest.fixture
def scene():
    with contextlib.ExitStack() as stack:
        yield Scene(stack)


def is_open(client):
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True


def test_those_that_have_sent_much_are_ended_the_longest_idle_first(scene):
    clients = [scene.client(sent) for sent in (MUCH, b"little", MUCH, MUCH)]
    time.sleep(0.1)
    clients[0].sendall(b"x")  # it is the last that was heard
    assert scene.idle().end(2) == 2
    assert [is_open(client) for client in clients] == [True, True, False, False]
    for ended in scene.accepted[2:]:  # as gRPC does
        ended.close()
    assert scene.idle().end(2) == 1
    assert [is_open(client) for client in clients] == [False, True, False, False]
    scene.accepted[0].close()
    assert scene.idle().end(2) == 0
