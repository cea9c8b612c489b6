"""TLS, with and without certificates of clients, and files that cannot be used."""

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.inference_requests import request
from kit.served import served
from rnnserve.protos import inference_pb2_grpc as rpc


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(repository, files):
    """Port of a server that asks for client certificates."""
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server), "tls_client_ca": files.ca}
    with served(repository, host="localhost", **tls) as server:
        yield server.port


def ask(port, credentials):
    sent = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        return rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent)


def test_any_client_that_trusts_the_server_is_admitted(repository, files):
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    with served(repository, host="localhost", **tls) as server:
        assert ask(server.port, grpc.ssl_channel_credentials(files.ca.read_bytes())).outputs


def test_with_a_client_ca_a_client_with_its_certificate_is_admitted(port, files):
    key, certificate = files.key(files.client).read_bytes(), files.client.read_bytes()
    assert ask(port, grpc.ssl_channel_credentials(files.ca.read_bytes(), key, certificate)).outputs


def test_with_a_client_ca_other_clients_are_not(port, files):
    stranger = (files.key(files.stranger).read_bytes(), files.stranger.read_bytes())
    for shown in ((), stranger):
        with pytest.raises(grpc.RpcError) as refused:
            ask(port, grpc.ssl_channel_credentials(files.ca.read_bytes(), *shown))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
