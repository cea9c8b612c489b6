"""Authorities of clients that are withdrawn admit no one over HTTP, not even with an earlier session."""

import asyncio
import contextlib
import socket
import ssl
import threading

import pytest
import uvloop

from kit.rotated_files import RotatedFiles, client_context
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_identity
from rnnserve.web.commands.web import ServedContext


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tls_identity, "_LOOK_SECONDS", 0.02)


@contextlib.contextmanager
def echoing(context):
    """The port of a server that sends back what it gets, on a thread."""
    loop, ready = uvloop.new_event_loop(), threading.Event()
    ports, ended = [], asyncio.Event()

    async def echo(reader, writer):
        with contextlib.suppress(OSError, ssl.SSLError):
            while said := await reader.read(100):
                writer.write(said)
        writer.close()

    async def serve():
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await ended.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(PATIENCE)
    watch = context.watch()
    watch.start()
    try:
        yield ports[0]
    finally:
        watch.close()
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def connected(port, context, session=None):
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        return context.wrap_socket(connection, server_hostname="localhost", session=session)
    except OSError:
        connection.close()
        raise


def said_back(connection):
    """What comes back of a word. Of TLS 1.3, a client is told only now that it is refused."""
    connection.sendall(b"word")
    if not (said := connection.recv(100)):
        raise ConnectionError("the server has ended the connection")
    return said


def is_admitted(port, context):
    with contextlib.suppress(ssl.SSLError, ConnectionError), connected(port, context) as connection:
        return said_back(connection) == b"word"
    return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_removed_ca_admits_no_client_even_with_a_resumed_session(tmp_path, version):
    rotated, other = RotatedFiles(tmp_path / "tls", mutual=True), RotatedFiles(tmp_path / "other").clients
    old = client_context(rotated.trusted, rotated.clients.issue_cert("old.example"))
    new = client_context(rotated.trusted, other.issue_cert("new.example"))
    old.minimum_version = old.maximum_version = version
    with echoing(ServedContext(rotated.files)) as port:
        with connected(port, old) as connection:
            assert said_back(connection) == b"word"
            session = connection.session
        with connected(port, old, session) as connection:
            assert said_back(connection) == b"word"
            assert connection.session_reused, "an earlier session is taken up while its authority is admitted"
            session = connection.session
        with pytest.raises((ssl.SSLError, ConnectionError)), connected(port, new) as connection:
            said_back(connection)
        rotated.replace(clients=other.cert_pem.bytes())
        until(lambda: is_admitted(port, new))
        for earlier in (None, session):
            with pytest.raises((ssl.SSLError, ConnectionError)), connected(port, old, earlier) as connection:
                said_back(connection)
