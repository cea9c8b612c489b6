"""Files for TLS that cannot be used, and new authorities of clients without a restart."""

from typing import Any

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.inference_requests import request
from kit.rotated_files import RotatedFiles, shown
from kit.served import served
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_identity
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError

SENT = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


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
def test_unusable_tls_files_are_named(repository, files, names, said):
    chosen = {"tls_certificate": "server.pem", "tls_key": "server.key"} | names
    settings = Settings(
        repository, grpc_port=0, provider="cpu", **{name: files.ca.parent / file for name, file in chosen.items()}
    )
    with pytest.raises(StartError, match=said):
        Server(settings)


def connect(port, rotated, client):
    chain = b"".join(part.bytes() for part in client.cert_chain_pems)
    credentials = grpc.ssl_channel_credentials(rotated.trusted, client.private_key_pem.bytes(), chain)
    return grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])


def ask(channel):
    return rpc.GRPCInferenceServiceStub(channel).ModelInfer(SENT, timeout=PATIENCE)


def test_new_client_ca_refuses_old_clients_and_admits_new_ones(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(tls_identity, "_LOOK_SECONDS", 0.02)
    rotated, other = RotatedFiles(tmp_path, "linked", mutual=True), RotatedFiles(tmp_path / "other").authority
    old, new = rotated.clients.issue_cert("old.example"), other.issue_cert("new.example")
    tls: dict[str, Any] = dict(zip(("tls_certificate", "tls_key", "tls_client_ca"), rotated.files, strict=True))
    with served(repository, **tls) as server:
        with connect(server.port, rotated, old) as open_before, connect(server.port, rotated, new) as too_early:
            assert ask(open_before).outputs
            with pytest.raises(grpc.RpcError):
                ask(too_early)
            certificate = rotated.rotate(other)
            until(lambda: shown(server.port) == certificate)
            assert ask(open_before).outputs, "connections that are open keep what they have"
        with connect(server.port, rotated, new) as channel:
            assert ask(channel).outputs
        with connect(server.port, rotated, old) as channel, pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
