"""Both clients and servers with and without TLS: what fits works, and what does not fit is told in one line."""

import contextlib
import socket
import threading

import grpc
import pytest

from kit.certificates import write_certificates
from kit.fakes import serving
from rnnserve.client import Client, InvalidRequest, Unavailable
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.errors import ClientError
from rnnserve.client.tls_diagnosis import explain_connection_failure, find_tls_fault

WALK = [[(0, 1)]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def servers(_server, files):
    """Addresses of the fake, by kind."""
    service, plain = _server
    kinds = {
        "tls": files.server_credentials(files.server),
        "mutual": files.server_credentials(files.server, mutual=True),
        "elsewhere": files.server_credentials(files.elsewhere),
    }
    with contextlib.ExitStack() as stack:
        yield {"plain": plain} | {kind: stack.enter_context(serving(service, kinds[kind])) for kind in kinds}


@pytest.fixture
def arguments(files):
    """Makes the arguments of a client from words."""

    def make(*words):
        named = {}
        for word in words:
            path = getattr(files, word)
            named |= {"tls_ca": path} if "ca" in word else {"tls_certificate": path, "tls_key": files.key(path)}
        return named

    return make


@pytest.mark.parametrize(
    ("scheme", "server", "words"),
    [
        ("grpc", "plain", []),
        ("grpcs", "tls", ["ca"]),
        ("grpcs", "tls", ["ca", "client"]),
        ("grpcs", "mutual", ["ca", "client"]),
    ],
)
def test_what_fits_works(connect, servers, arguments, scheme, server, words):
    client = connect(f"{scheme}://{servers[server]}", **arguments(*words))
    assert client.is_live()
    assert client.classify("sums", WALK)[0].label == "right"


@pytest.mark.parametrize(
    ("scheme", "server", "words", "lesson"),
    [
        ("grpc", "tls", [], "the server speaks TLS: use grpcs://{}"),
        ("grpc", "mutual", [], "the server speaks TLS: use grpcs://{}"),
        ("grpcs", "plain", ["ca"], "the server does not speak TLS: use grpc://{}"),
        (
            "grpcs",
            "tls",
            [],
            "the server's certificate is not trusted: unable to get local issuer certificate; tls_ca (--tls-ca) names "
            "the file with the authorities to trust",
        ),
        (
            "grpcs",
            "tls",
            ["other_ca"],
            "the server's certificate is not trusted: unable to get local issuer certificate;",
        ),
        (
            "grpcs",
            "elsewhere",
            ["ca"],
            "the server's certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
        ("grpcs", "mutual", ["ca"], "the server asks for a client certificate: give tls_certificate and tls_key"),
        ("grpcs", "mutual", ["ca", "stranger"], "the server does not accept the client certificate in "),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(connect, service, servers, arguments, scheme, server, words, lesson):
    client = connect(f"{scheme}://{servers[server]}", **arguments(*words))
    for ask in (lambda: client.classify("sums", WALK), client.is_live, client.is_ready):
        with pytest.raises(InvalidRequest) as raised:
            ask()
        assert str(raised.value).startswith(f"{scheme}://{servers[server]}: {lesson.format(servers[server])}")
        assert "\n" not in str(raised.value)
        assert ("tls_ca" in str(raised.value)) == ("local issuer" in lesson)
    assert service.calls == []


def test_a_server_that_answers_unavailable_is_not_tried_again(connect, service, servers, arguments, monkeypatch):
    monkeypatch.setattr("rnnserve.client.tls_diagnosis.find_tls_fault", lambda _: pytest.fail("it was tried again"))
    service.failure = (grpc.StatusCode.UNAVAILABLE, "sums/3: golden results differ")
    for url, words in ((f"grpcs://{servers['tls']}", ["ca"]), (servers["plain"], [])):
        with pytest.raises(Unavailable, match=r"^sums/3: golden results differ$"):
            connect(url, **arguments(*words)).classify("sums", WALK)


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_where_no_server_is_tls_is_not_the_reason(connect, scheme):
    with socket.socket() as bound:  # taken but not listening
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="failed to connect"):
            connect(f"{scheme}://127.0.0.1:{bound.getsockname()[1]}").classify("sums", WALK)


@pytest.mark.parametrize(
    ("scheme", "answer", "fault"),
    [
        ("grpc", b"HTTP/1.0 400 Bad Request\r\n\r\n", None),
        ("grpc", b"", None),
        ("grpcs", b"HTTP/1.0 400 Bad Request\r\n\r\n", "the server does not speak TLS"),
        ("grpcs", b"", None),
        ("grpc", b"\x15\x03\x03\x00\x02\x02\x28", "the server speaks TLS"),  # the alert handshake_failure
        ("grpcs", b"\x15\x03\x03\x00\x02\x02\x28", "the server asks for a client certificate"),
    ],
)
def test_servers_of_other_kinds(scheme, answer, fault):
    """They read the client's hello, answer, and close the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        found = find_tls_fault(parse_endpoint(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"))
        thread.join()
    assert found == fault or fault in found


def test_a_port_of_http_is_said_to_be_one():
    error = Unavailable("failed to connect to all addresses; last error: … (Trying to connect an http1.x server (400))")
    found = explain_connection_failure(parse_endpoint("127.0.0.1:8000"), error)
    assert isinstance(found, InvalidRequest)
    assert str(found).startswith("grpc://127.0.0.1:8000: an HTTP server answers there: give the port for gRPC")


def test_grpc_says_so_of_what_speaks_http():
    """A front answers the first bytes of HTTP/2 with 400."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            Client(f"127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(InvalidRequest, match="an HTTP server answers there"),
        ):
            client.predict("model", WALK)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("error", [Unavailable("the model is not ready"), ClientError("failed to connect")])
def test_errors_of_other_kinds_stay(error):
    assert explain_connection_failure(parse_endpoint("127.0.0.1:1"), error) is error


def test_the_next_of_several_addresses_is_used_with_the_certificate_of_the_first(servers, arguments):
    with Client(f"grpcs://127.0.0.1:1,{servers['tls']}", **arguments("ca")) as client:
        assert client.is_live()
