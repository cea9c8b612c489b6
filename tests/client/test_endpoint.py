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
        ("http://127.0.0.1:8000", "unsupported scheme 'http'.*8001"),
        ("https://127.0.0.1:8000", "unsupported scheme 'https'.*grpcs://host:port for TLS"),
        ("127.0.0.1", "not host:port.*127.0.0.1:8001"),
        ("", "not host:port"),
        ("host:8001/v2", "without a path"),
        ("host:port", "not host:port"),
        ("::1:8001", r"\[::1\]:8001"),
        ("host:0", "port 0; expected 1 to 65535"),
        ("10.0.0.1:8001,10.0.0.2:65536", "port 65536; expected"),
        ("host:8001,[::1]:8001", "mixes IPv6 addresses with others"),
        (["a:1", "grpcs://b:1"], "some use TLS .* and some do not"),
        ([], "no server was passed"),
        ("file:///srv/endpoints", "unsupported scheme 'file'"),
        ("grpcs://file:///srv/endpoints", "not host:port"),
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
        with pytest.raises(InvalidRequest, match=rf"{name} needs a URL with TLS, grpcs://localhost:8001"):
            parse_endpoint("localhost:8001", **{name: files.ca})


@pytest.mark.parametrize(
    ("names", "lesson"),
    [
        ({"tls_ca": "none.pem"}, r"cannot read .*none\.pem \(No such file"),
        ({"tls_ca": "client.key"}, r"tls_ca .*client\.key contains no certificates in PEM"),
        ({"tls_certificate": "client.pem"}, "pass both tls_certificate and tls_key"),
        ({"tls_key": "client.key"}, "pass both tls_certificate and tls_key"),
        ({"tls_certificate": "client.pem", "tls_key": "none"}, r"cannot read .*none"),
        (
            {"tls_certificate": "client.pem", "tls_key": "stranger.key"},
            r"stranger\.key .*KEY_VALUES_MISMATCH",
        ),
        (
            {"tls_certificate": "client.key", "tls_key": "client.key"},
            r"cannot use tls_certificate .*client\.key.*expected a certificate chain",
        ),
        ({"tls_certificate": "client.pem", "tls_key": "encrypted.key"}, r"encrypted\.key .*not encrypted"),
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
