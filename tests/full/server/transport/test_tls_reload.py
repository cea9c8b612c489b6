"""New certificates are served over gRPC without a restart or a failed call, under load, and those of clients too."""

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.rotated_files import RotatedFiles, shown
from kit.served import served
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_watch
from rnnserve.protos import inference_pb2_grpc as rpc

SENT = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tls_watch, "_LOOK_SECONDS", 0.02)


def served_with(rotated, repository):
    return served(repository, **dict(zip(("tls_certificate", "tls_key", "tls_client_ca"), rotated.files, strict=True)))


def connect(port, rotated, client=None):
    key, chain = (None, None) if client is None else (client.private_key_pem.bytes(), chain_of(client))
    credentials = grpc.ssl_channel_credentials(rotated.trusted, key, chain)
    return grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])


def chain_of(client):
    return b"".join(part.bytes() for part in client.cert_chain_pems)


def ask(channel):
    return rpc.GRPCInferenceServiceStub(channel).ModelInfer(SENT, timeout=PATIENCE)


def test_another_authority_of_clients_refuses_the_old_ones_and_admits_the_new_ones(repository, tmp_path):
    rotated, other = RotatedFiles(tmp_path, "linked", mutual=True), RotatedFiles(tmp_path / "other").authority
    old, new = rotated.clients.issue_cert("old.example"), other.issue_cert("new.example")
    with served_with(rotated, repository) as server:
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
