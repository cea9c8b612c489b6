"""Missing resources are reported in one line. Ports are probed, and reserved for workers to share."""

import errno
import socket
import threading

import pytest

from rnnserve.server.errors import StartError
from rnnserve.server.system import check_room, probe_port, reserve_port, start_error

PATIENCE = 20.0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory or address space"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory or address space"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (RuntimeError("can't start new thread"), "cannot start more threads (see ulimit -u"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_exhausted_resource_is_named(error, said):
    assert said in str(start_error(error))


def test_start_fails_when_threads_or_memory_are_short(monkeypatch):
    before = threading.active_count()
    check_room()
    with pytest.raises(StartError, match=r"^cannot start: not enough memory or address space"):
        check_room(1 << 60)
    started = iter(range(3))
    start = threading.Thread.start

    def start_three(thread):
        if next(started, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_three)
    with pytest.raises(StartError, match=r"^cannot start: cannot start more threads"):
        check_room()
    assert threading.active_count() == before


def test_defect_is_not_reported_as_a_missing_resource():
    assert start_error(RuntimeError("dictionary changed size during iteration")) is None
    assert start_error(ImportError("cannot import name x")) is None


def test_port_in_use_is_refused():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"), reserve_port("127.0.0.1", port):
            pass


def test_reserved_port_can_be_shared():
    with reserve_port("127.0.0.1", 0) as port, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with socket.create_connection(("127.0.0.1", port)):
            worker.settimeout(PATIENCE)
            accepted, _ = worker.accept()
            accepted.close()


@pytest.mark.parametrize("shares", [False, True])
def test_connections_of_an_ended_server_do_not_block_the_port(shares):
    """Whether or not the old and the new server share their port."""
    with socket.socket() as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        before.bind(("127.0.0.1", 0))
        before.listen()
        port = before.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = before.accept()
    accepted.close()  # first, so that the server's end is in TIME_WAIT
    client.close()
    probe_port("127.0.0.1", port)
    with reserve_port("127.0.0.1", port) as reserved:
        assert reserved == port
