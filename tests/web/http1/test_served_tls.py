"""New certificates are served over HTTP without a restart or a failed request; withdrawn authorities admit no one."""

import asyncio
import contextlib
import functools
import http.client
import socket
import ssl
import subprocess
import sys
import threading

import pytest
import uvloop

from kit.rotated_files import WAYS, RotatedFiles, client_context, shown, shows
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_watch
from rnnserve.common.front_counts import NUMBERS, FrontCounts, use_front_counts, used_front_counts
from rnnserve.web.http1.served_tls import ServedContext

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
COMMAND = [sys.executable, "-m", "rnnserve.cli", "web", "--upstream", "127.0.0.1:1", "--http-port", "0"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tls_watch, "_LOOK_SECONDS", 0.02)


@pytest.fixture
def counts():
    """How many new files were taken, and how many were refused."""
    before = used_front_counts()
    use_front_counts(counts := FrontCounts())
    yield lambda: counts.numbers()[NUMBERS - 2 :]
    use_front_counts(before)


@contextlib.contextmanager
def echoing(context, new_loop):
    """The port of a server that sends back what it gets, on a thread."""
    loop, ready = new_loop(), threading.Event()
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
    """What comes back of a word; of TLS 1.3, a client is told only now that it is refused."""
    connection.sendall(b"word")
    return connection.recv(100)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("new_loop", LOOPS)
def test_new_connections_are_of_the_new_certificate_and_open_ones_go_on(tmp_path, counts, way, new_loop):
    rotated = RotatedFiles(tmp_path / "tls", way)
    trusting = client_context(rotated.trusted)
    with echoing(ServedContext(rotated.files), new_loop) as port, connected(port, trusting) as open_before:
        for count in range(1, 11):
            certificate = rotated.rotate()
            until(functools.partial(shows, port, certificate))
            taken, refused = counts()
            assert taken == count
            assert not refused or way != "linked"  # else one file after the other: a busy machine sees that twice
            with connected(port, trusting) as connection:
                assert said_back(connection) == said_back(open_before) == b"word"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_pair_that_does_not_fit_stops_nothing_and_is_counted(tmp_path, counts, new_loop):
    rotated = RotatedFiles(tmp_path / "tls")
    with echoing(ServedContext(rotated.files), new_loop) as port:
        rotated.replace(key=rotated.issued()[1])
        until(lambda: counts() == [0, 1])
        with connected(port, client_context(rotated.trusted)) as connection:
            assert said_back(connection) == b"word"
        assert shown(port) == rotated.certificate


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_withdrawn_authority_admits_no_one_not_even_with_an_earlier_session(tmp_path, counts, version, new_loop):
    rotated, other = RotatedFiles(tmp_path / "tls", mutual=True), RotatedFiles(tmp_path / "other").clients
    old = client_context(rotated.trusted, rotated.clients.issue_cert("old.example"))
    new = client_context(rotated.trusted, other.issue_cert("new.example"))
    old.minimum_version = old.maximum_version = version
    with echoing(ServedContext(rotated.files), new_loop) as port:
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
        until(lambda: counts() == [1, 0])
        with connected(port, new) as connection:
            assert said_back(connection) == b"word"
        for earlier in (None, session):
            with pytest.raises((ssl.SSLError, ConnectionError)), connected(port, old, earlier) as connection:
                said_back(connection)


def test_a_front_that_is_asked_all_the_time_fails_no_request(tmp_path):
    rotated = RotatedFiles(tmp_path / "tls", "linked")
    trusting = client_context(rotated.trusted)
    answered, failed, has_ended = [0, 0], [], threading.Event()

    def ask(index, port):
        connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=trusting)
        while not has_ended.is_set():
            try:
                connection.request("GET", "/openapi.json")
                reply = connection.getresponse()
                reply.read()
                assert reply.status == 200
                answered[index] += 1
            except Exception as error:  # noqa: BLE001 - none is to be raised, whatever it is
                failed.append(error)
            if index:
                connection.close()
        connection.close()

    with subprocess.Popen([*COMMAND, *rotated.options()], stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().rpartition(":")[2])
        threads = [threading.Thread(target=ask, args=(index, port)) for index in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            certificate = rotated.rotate()
            until(functools.partial(shows, port, certificate))
        before = list(answered)
        until(lambda: all(now > then for now, then in zip(answered, before, strict=True)) or failed)
        has_ended.set()
        for thread in threads:
            thread.join()
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not failed
