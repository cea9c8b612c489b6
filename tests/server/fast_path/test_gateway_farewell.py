"""How a server that stops parts from its front: nothing is lost, and nothing is run twice."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kit.front_streams import Front
from kit.served import served

MODEL = "direction_simple"


@pytest.fixture
def going(repository, tmp_path):
    """A server, and what stops it, in the background."""
    with served(repository, private_sockets=tmp_path) as running, ThreadPoolExecutor() as threads:
        yield running.server, lambda: threads.submit(running.server.stop)


def test_a_front_is_told_that_its_server_goes_and_has_answers_until_it_half_closes(going):
    """The end raced with what fronts wrote: they were told that the stream broke, 503, in the place of its status."""
    server, stop = going
    with contextlib.closing(Front(server)) as front:
        front.write(1)
        assert [front.read(), front.read()] == [([], False), ([1], False)]
        stopped = stop()
        assert front.read() == ([], True)
        front.write(2)
        assert front.read() == ([2], False)
        front.half_close()
        assert list(front.call) == []
        assert front.call.code() is grpc.StatusCode.OK
        stopped.result(20)
