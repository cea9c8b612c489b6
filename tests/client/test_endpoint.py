"""URLs and files for TLS, before any connection."""

import pickle

import pytest
from cryptography.hazmat.primitives import serialization

from kit.certificates import write_certificates
from rnnserve.client import Client, InvalidRequest
from rnnserve.client.endpoint import Endpoint, parse_endpoint
from rnnserve.client.tls import TlsFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("127.0.0.1:8001", "127.0.0.1:8001"),
        ("grpc://127.0.0.1:8001", "127.0.0.1:8001"),
        ("inference.svc.cluster.local:80", "inference.svc.cluster.local:80"),
        ("grpcs://[::1]:8001", "[::1]:8001"),
        ("grpcs://10.0.0.1:8001, 10.0.0.2:8001", "10.0.0.1:8001,10.0.0.2:8001"),
        ("[::1]:8001,[::2]:8001", "[::1]:8001,[::2]:8001"),
        (["a:8001", "grpc://b:8001"], "a:8001,b:8001"),
        (["grpcs://a:8001", "grpcs://b:8001,c:8001"], "a:8001,b:8001,c:8001"),
        (["dns:///inference:8001", "b:1"], "inference:8001,b:1"),
    ],
)
def test_url_names_hosts_and_ports(url, address):
    endpoint = parse_endpoint(url)
    assert endpoint.address == address
    assert (endpoint.tls is not None) == ("grpcs" in str(url))
    assert Client(url).url == address


@pytest.mark.parametrize(
    ("url", "lesson"),
    [
        ("http://127.0.0.1:8000", "'http' is not supported.*8001"),
        ("https://127.0.0.1:8000", "'https' is not supported.*grpcs://host:port for TLS"),
        ("127.0.0.1", "no host and port.*127.0.0.1:8001"),
        ("", "no host and port"),
        ("host:8001/v2", "nothing after the port"),
        ("host:port", "no host and port"),
        ("::1:8001", r"\[::1\]:8001"),
        ("host:0", "port 0 is outside"),
        ("10.0.0.1:8001,10.0.0.2:65536", "port 65536 is outside"),
        ("0.0.0.0:8001", r"a server listens.*127\.0\.0\.1:8001"),
        ("host:8001,[::1]:8001", "several addresses are of one kind"),
        ("a:1,b:1,a:1", "a:1 is listed twice"),
        (["a:1", "grpcs://b:1"], "some are with TLS .* and some without"),
        ([], "no server is given"),
        ("file:///srv/endpoints", "a file that lists servers is no longer read.*10.0.0.1:8001,10.0.0.2:8001"),
        ("grpcs://file:///srv/endpoints", "a file that lists servers is no longer read"),
    ],
)
def test_other_urls_are_refused_with_a_lesson(url, lesson):
    with pytest.raises(InvalidRequest, match=lesson):
        Client(url)


def test_endpoint_has_its_url_and_survives_pickling(files):
    endpoint = parse_endpoint("grpcs://localhost:8001", tls_ca=str(files.ca))
    assert endpoint == Endpoint("localhost:8001", TlsFiles(ca=files.ca))
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    assert endpoint.url == "grpcs://localhost:8001"
    assert parse_endpoint("localhost:8001").url == "grpc://localhost:8001"


def test_files_for_tls_need_a_url_with_tls(files):
    for name in ("tls_ca", "tls_certificate", "tls_key"):
        with pytest.raises(InvalidRequest, match=rf"without TLS, but {name} is given: use grpcs://localhost:8001"):
            parse_endpoint("localhost:8001", **{name: files.ca})


@pytest.mark.parametrize(
    ("names", "lesson"),
    [
        ({"tls_ca": "none.pem"}, r"none\.pem: cannot be read \(No such file"),
        ({"tls_ca": "client.key"}, r"tls_ca .*client\.key: holds no certificates in PEM"),
        ({"tls_certificate": "client.pem"}, "needs both tls_certificate and tls_key"),
        ({"tls_key": "client.key"}, "needs both tls_certificate and tls_key"),
        ({"tls_certificate": "client.pem", "tls_key": "none"}, r"none: cannot be read"),
        (
            {"tls_certificate": "client.pem", "tls_key": "stranger.key"},
            r"stranger\.key: expected .*KEY_VALUES_MISMATCH",
        ),
        ({"tls_certificate": "client.key", "tls_key": "client.key"}, r"client\.key: expected a certificate chain"),
        ({"tls_certificate": "client.pem", "tls_key": "encrypted.key"}, r"encrypted\.key: expected .* not encrypted"),
    ],
)
def test_unusable_files_are_refused_with_a_lesson(files, names, lesson):
    folder = files.ca.parent
    (folder / "encrypted.key").write_bytes(encrypt(files.key(files.client).read_bytes()))
    with pytest.raises(InvalidRequest, match=lesson) as raised:
        Client("grpcs://localhost:8001", **{name: folder / file for name, file in names.items()})
    assert "\n" not in str(raised.value)


def encrypt(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
