"""A process that stops listening on a shared port refuses no one: all connections are with the others, or its own."""

import contextlib
import os
import select
import socket
import struct
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kit.bare_python import BARE_PYTHON
from kit.waiting import PATIENCE, until
from rnnserve.server.sockets import listening
from rnnserve.server.sockets.listening import connections, count_connections, end_connection, stop_listening


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


def sockets() -> set[str]:
    """The sockets of this process; other descriptors come and go with threads of other tests."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("socket:")}


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


def test_where_no_filter_is_allowed_what_was_complete_is_accepted_too(monkeypatch, caplog):
    def refuse(_):
        raise PermissionError

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        port = listener.getsockname()[1]
        connected(listener, stack, 5)
        taken: list[int] = []
        monkeypatch.setattr(listening, "_attach_filter", refuse)
        accept = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: taken.append(accepted(listener, stack)))
        monkeypatch.setattr(listening, "time", accept)
        stop_listening(port)
        assert taken[0] == 5
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port))
    assert "filter connections" in caplog.text


def test_the_place_of_the_socket_is_taken_by_one_that_hears_nothing():
    """gRPC polls, accepts and closes it as its own."""
    with listen() as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        stop_listening(port)
        with socket.socket(fileno=os.dup(fd)) as nobody:
            assert nobody.family == socket.AF_UNIX
            assert nobody.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            nobody.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                raise AssertionError(nobody.accept())
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port))


def test_connections_are_counted_and_nothing_is_left_open():
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        port = listener.getsockname()[1]
        before = sockets()
        assert count_connections(port) == 0
        connected(listener, stack, 3)
        assert accepted(listener, stack) == 3
        assert count_connections(port) == 3  # the accepted ends, not the clients', which have ports of their own
        assert len(sockets() - before) == 6


def test_one_connection_is_ended():
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        port = listener.getsockname()[1]
        clients = connected(listener, stack, 2)
        assert accepted(listener, stack) == 2
        names = [f"ipv4:127.0.0.1:{client.getsockname()[1]}" for client in clients]
        ends = {end.getpeername()[1]: stack.enter_context(end) for end in connections(port)}
        end = ends[clients[0].getsockname()[1]]
        end.settimeout(PATIENCE)
        clients[0].sendall(bytes(100))
        assert end.recv(1, socket.MSG_PEEK)
        assert end_connection(port, names[0])
        clients[0].settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            clients[0].recv(1)
        with pytest.raises(OSError, match=r"not connected|reset"):
            end.recv(1)  # what had arrived is forgotten
        clients[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[1].recv(1)
        for unknown in ("ipv4:127.0.0.1:1", "unix:", "", "ipv6:%5B::1%5D:1"):
            assert not end_connection(port, unknown)
