"""TLS on both transports, with and without certificates of clients, and files that cannot be used."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.inference_requests import request
from kit.served import served
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.counting.places import TLS_NOT_AFTER
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import StartError
from rnnserve.server.transport.tls import ServedTls

PATIENCE = 20.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def test_a_server_that_stops_answers_what_is_in_its_hands(repository, files, monkeypatch):
    """Clients cannot be told before, so that answers are held back for a moment."""
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes())
    sent = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})
    with (
        served(repository, host="localhost", **tls) as running,
        grpc.secure_channel(f"localhost:{running.port}", credentials) as channel,
    ):
        infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
        assert infer(sent).outputs
        calls: list[Any] = []

        def wait(*_: float) -> None:
            calls.extend(infer.future(sent) for _ in range(8))
            time.sleep(0.2)
            assert not any(call.done() for call in calls)

        monkeypatch.setattr(running.server._transport._stopping, "_wait_for_quiet", wait)
        assert running.server.stop() == []
        assert all(call.result(PATIENCE).outputs for call in calls)


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
    assert ServedTls.of(settings) is not None
    process = used_table().process
    try:
        assert process[TLS_NOT_AFTER] > time.time()
    finally:
        process[TLS_NOT_AFTER] = 0.0
