"""Both clients, and servers with and without TLS: matching pairs work, and mismatches are explained in one line."""

import contextlib
import socket
import threading

import pytest

from kit.certificates import write_certificates
from kit.fakes import serving
from rnnserve.client import InvalidRequest, Unavailable
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.errors import ClientError
from rnnserve.client.tls_diagnosis import explain_connection_failure

WALK = [[(0, 1)]]
TLS, NO_TLS = "the server uses TLS; connect to grpcs://{}", "the server does not use TLS; connect to grpc://{}"
UNTRUSTED = "the client does not trust the server's certificate: "


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def addresses(_server, files):
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
    """Makes the arguments of a client from the names of certificates."""

    def make(names):
        named = {}
        for name in names.split():
            path = getattr(files, name)
            named |= {"tls_ca": path} if "ca" in name else {"tls_certificate": path, "tls_key": files.key(path)}
        return named

    return make


@pytest.mark.parametrize(
    ("scheme", "server", "names"),
    [("grpc", "plain", ""), ("grpcs", "tls", "ca"), ("grpcs", "tls", "ca client"), ("grpcs", "mutual", "ca client")],
)
def test_client_that_fits_the_server_is_answered(connect, addresses, arguments, scheme, server, names):
    client = connect(f"{scheme}://{addresses[server]}", **arguments(names))
    assert client.is_live()
    assert client.classify("sums", WALK)[0].label == "right"


@pytest.mark.parametrize(
    ("scheme", "server", "names", "lesson"),
    [
        ("grpc", "tls", "", TLS),
        ("grpc", "mutual", "", TLS),
        ("grpcs", "plain", "ca", NO_TLS),
        (
            "grpcs",
            "tls",
            "",
            f"{UNTRUSTED}unable to get local issuer certificate. Pass the file with its CA certificate as tls_ca",
        ),
        ("grpcs", "tls", "other_ca", f"{UNTRUSTED}unable to get local issuer certificate."),
        ("grpcs", "elsewhere", "ca", f"{UNTRUSTED}IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("grpcs", "mutual", "ca", "the server requires a client certificate; pass tls_certificate and tls_key"),
        ("grpcs", "mutual", "ca stranger", "the server rejected the client certificate in "),
    ],
)
def test_mismatched_client_gets_the_remedy(connect, service, addresses, arguments, scheme, server, names, lesson):
    address = addresses[server]
    client = connect(f"{scheme}://{address}", **arguments(names))
    for call in (lambda: client.classify("sums", WALK), client.is_live):
        with pytest.raises(InvalidRequest) as raised:
            call()
        assert str(raised.value).startswith(f"{scheme}://{address}: {lesson.format(address)}")
        assert "\n" not in str(raised.value)
        assert ("tls_ca" in str(raised.value)) == ("local issuer" in lesson)
    assert service.calls == []


def answer_once(answer):
    """A listening socket, and a thread that reads one client's hello, answers it, and closes the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return listening, thread


@pytest.mark.parametrize(
    ("scheme", "answer", "fault"),
    [
        ("grpc", b"HTTP/1.0 400 Bad Request\r\n\r\n", None),
        ("grpc", b"", None),
        ("grpcs", b"HTTP/1.0 400 Bad Request\r\n\r\n", "the server does not use TLS"),
        ("grpcs", b"", None),
        ("grpc", b"\x15\x03\x03\x00\x02\x02\x28", "the server uses TLS"),  # the alert handshake_failure
        ("grpcs", b"\x15\x03\x03\x00\x02\x02\x28", "the server requires a client certificate"),
    ],
)
def test_server_of_another_kind_is_recognized_by_its_first_bytes(scheme, answer, fault):
    listening, thread = answer_once(answer)
    with listening:
        error = Unavailable("failed to connect to all addresses")
        found = explain_connection_failure(parse_endpoint(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"), error)
        thread.join()
    assert found is error if fault is None else fault in str(found)


def test_http_server_is_named_as_such():
    error = Unavailable("failed to connect to all addresses; last error: … (Trying to connect an http1.x server (400))")
    found = explain_connection_failure(parse_endpoint("127.0.0.1:8000"), error)
    assert isinstance(found, InvalidRequest)
    assert str(found).startswith("grpc://127.0.0.1:8000 is an HTTP server; use the gRPC port")
    for other in (Unavailable("the model is not ready"), ClientError("failed to connect")):
        assert explain_connection_failure(parse_endpoint("127.0.0.1:1"), other) is other


def test_next_of_several_addresses_is_reached_with_the_first_one_s_certificate(connect, addresses, arguments):
    client = connect(f"grpcs://127.0.0.1:1,{addresses['tls']}", **arguments("ca"))
    assert client.classify("sums", WALK)[0].label == "right"
