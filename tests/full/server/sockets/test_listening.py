"""A process that stops listening on a shared port refuses no one: all connections are with the others, or its own."""

import contextlib
import select
import socket
import struct
import subprocess
import time
from types import SimpleNamespace

import pytest

from kit.bare_python import BARE_PYTHON
from kit.waiting import PATIENCE, until
from rnnserve.server.sockets import listening
from rnnserve.server.sockets.listening import stop_listening


def listen(port: int = 0) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(100)
    listener.setblocking(False)
    return listener


def connected(listener: socket.socket, stack: contextlib.ExitStack, count: int) -> list[socket.socket]:
    """Clients whose connections wait to be accepted, which the kernel may come to later than to the clients' ends."""
    address = listener.getsockname()
    clients = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(count)]
    until(lambda: waiting_to_be_accepted(listener) == count)
    return clients


def waiting_to_be_accepted(listener: socket.socket) -> int:
    """How many connections do, by the kernel's `tcp_info`: of a socket that listens, `tcpi_unacked` says it."""
    (count,) = struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)
    return count


def accepted(listener: socket.socket, stack: contextlib.ExitStack) -> int:
    """Accept all that is there."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stack.enter_context(listener.accept()[0])
            count += 1
    return count


OTHER = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(100)
print("listens", flush=True)
kept = []
while True:
    kept.append(listener.accept())
"""


@contextlib.contextmanager
def another_process(port: int):
    """Another process listens on the port and accepts."""
    with subprocess.Popen([*BARE_PYTHON, OTHER, str(port)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"listens\n"
            yield
        finally:
            process.kill()


def test_what_was_complete_is_accepted_and_what_comes_later_goes_to_the_others(monkeypatch):
    """`time.sleep` is where the clients, and what accepts, have their turn."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        port = listener.getsockname()[1]
        connected(listener, stack, 5)
        stack.enter_context(another_process(port))
        taken: list[int] = []
        late: list[socket.socket] = []
        may_filter = False

        def others_have_their_turn(_):
            if late:
                taken.append(accepted(listener, stack))
            for _ in range(0 if late else 20):
                late.append(stack.enter_context(socket.socket()))
                late[-1].setblocking(False)
                late[-1].connect_ex(("127.0.0.1", port))

        with contextlib.suppress(PermissionError):
            listening._attach_filter(stack.enter_context(listen()))
            may_filter = True
        if not may_filter:
            pytest.skip("this system lets no process of this user filter connections")
        monkeypatch.setattr(listening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=others_have_their_turn))
        stop_listening(port)
        assert sum(taken) == 5
        for client in late:
            assert select.select([], [client], [], PATIENCE)[1]
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
