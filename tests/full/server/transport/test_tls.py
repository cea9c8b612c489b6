"""TLS on both transports, with and without certificates of clients, and files that cannot be used."""

import time
from pathlib import Path

import pytest

from kit.certificates import write_certificates
from rnnserve.server import Server, Settings
from rnnserve.server.counting.places import TLS_NOT_AFTER
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import StartError
from rnnserve.server.transport.tls import ServedTls


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"tls_certificate": "none.pem"}, r"cannot read .*none\.pem: No such file"),
        ({"tls_key": "none.key"}, r"cannot read .*none\.key: No such file"),
        ({"tls_client_ca": "none.pem"}, r"cannot read .*none\.pem: No such file"),
        ({"tls_key": "client.key"}, r"--tls-key .*client\.key: expected .* \(KEY_VALUES_MISMATCH\)"),
        ({"tls_certificate": "server.key"}, r"--tls-certificate .*server\.key and .*: expected a certificate chain"),
        ({"tls_client_ca": "client.key"}, r"--tls-client-ca .*client\.key: holds no certificates in PEM"),
    ],
)
def test_files_that_cannot_be_used_are_named(repository, files, names, said):
    chosen = {"tls_certificate": "server.pem", "tls_key": "server.key"} | names
    settings = Settings(
        repository, grpc_port=0, provider="cpu", **{name: files.ca.parent / file for name, file in chosen.items()}
    )
    with pytest.raises(StartError, match=said):
        Server(settings)


def test_metrics_say_when_the_certificate_ends(files):
    settings = Settings(Path(), tls_certificate=files.server, tls_key=files.key(files.server))
    ServedTls(settings.tls_files)
    process = used_table().process
    try:
        assert process[TLS_NOT_AFTER] > time.time()
    finally:
        process[TLS_NOT_AFTER] = 0.0
