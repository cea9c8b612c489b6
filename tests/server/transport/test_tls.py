"""TLS on both transports, with and without certificates of clients, and files that cannot be used."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.inference_requests import request
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


@pytest.fixture(scope="module", params=["lane", "public"])
def port(request, repository, files):
    """Port of a server that asks for client certificates."""
    settings = Settings(
        repository,
        "localhost",
        0,
        "cpu",
        request.param,
        tls_certificate=files.server,
        tls_key=files.key(files.server),
        tls_client_ca=files.ca,
    )
    with Server(settings) as server:
        yield server.port


def ask(port, credentials):
    sent = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        return rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent)


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_any_client_that_trusts_the_server_is_admitted(repository, files, kind):
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    with Server(Settings(repository, "localhost", 0, "cpu", kind, **tls)) as server:
        assert ask(server.port, grpc.ssl_channel_credentials(files.ca.read_bytes())).outputs


def test_with_a_client_ca_a_client_with_its_certificate_is_admitted(port, files):
    key, certificate = files.key(files.client).read_bytes(), files.client.read_bytes()
    assert ask(port, grpc.ssl_channel_credentials(files.ca.read_bytes(), key, certificate)).outputs


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_server_that_stops_answers_what_is_in_its_hands(repository, files, kind, monkeypatch):
    """Clients cannot be told before, so that answers are held back for a moment."""
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes())
    sent = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})
    with (
        Server(Settings(repository, "localhost", 0, "cpu", kind, **tls)) as server,
        grpc.secure_channel(f"localhost:{server.port}", credentials) as channel,
    ):
        infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
        assert infer(sent).outputs
        calls: list[Any] = []

        def wait(*_: float) -> None:
            calls.extend(infer.future(sent) for _ in range(8))
            time.sleep(0.2)
            assert not any(call.done() for call in calls)

        monkeypatch.setattr(server._transport._stopping, "_wait_for_quiet", wait)
        assert server.stop() == []
        assert all(call.result(PATIENCE).outputs for call in calls)


@pytest.mark.parametrize("name", [None, "stranger"])
def test_with_a_client_ca_other_clients_are_not(port, files, name):
    shown = () if name is None else (files.key(files.stranger).read_bytes(), files.stranger.read_bytes())
    with pytest.raises(grpc.RpcError) as refused:
        ask(port, grpc.ssl_channel_credentials(files.ca.read_bytes(), *shown))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


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
