"""TLS, with and without certificates of clients, and new certificates without a restart."""

import re
from typing import Any

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.inference_requests import request
from kit.logged import logged
from kit.rotated_files import RotatedFiles, shown
from kit.served import served
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_identity
from rnnserve.common.tls_identity import read_identity
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.counting.exposition import Exposition, Totals
from rnnserve.server.counting.table import used_table

SENT = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def ask(port, *credentials):
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(*credentials)) as channel:
        return rpc.GRPCInferenceServiceStub(channel).ModelInfer(SENT)


def test_any_client_that_trusts_the_server_is_admitted(repository, files):
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    with served(repository, host="localhost", **tls) as server:
        assert ask(server.port, files.ca.read_bytes()).outputs


def test_client_ca_admits_only_clients_with_its_certificates(repository, files):
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server), "tls_client_ca": files.ca}
    with served(repository, host="localhost", **tls) as server:
        key, certificate = files.key(files.client).read_bytes(), files.client.read_bytes()
        assert ask(server.port, files.ca.read_bytes(), key, certificate).outputs
        for stranger in ((), (files.key(files.stranger).read_bytes(), files.stranger.read_bytes())):
            with pytest.raises(grpc.RpcError) as refused:
                ask(server.port, files.ca.read_bytes(), *stranger)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def metrics():
    totals = Totals()
    totals.add(used_table())
    text = Exposition(totals, "1").text()[0].decode()
    found = dict(re.findall(r'^rnnserve_tls_reloads_total\{outcome="(\w+)"\} (\d+)\.0$', text, re.MULTILINE))
    ends = re.findall(r"^rnnserve_tls_not_after_timestamp_seconds (\S+)$", text, re.MULTILINE)
    return {name: int(value) for name, value in found.items()} | {"ends": [float(end) for end in ends]}


def test_rotated_certificate_is_used_and_a_mismatched_pair_is_rejected(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(tls_identity, "_LOOK_SECONDS", 0.02)
    rotated, before = RotatedFiles(tmp_path), metrics()
    tls: dict[str, Any] = {"tls_certificate": rotated.files.certificate, "tls_key": rotated.files.key}
    with logged("rnnserve.common") as log, served(repository, **tls) as server:
        credentials = grpc.ssl_channel_credentials(rotated.trusted)
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
            infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
            assert infer(SENT, timeout=PATIENCE).outputs
            rotated.replace(certificate=rotated.issued()[0])
            until(lambda: metrics()["refused"] == before["refused"] + 1)
            assert shown(server.port) == rotated.certificate
            certificate = rotated.rotate()
            until(lambda: shown(server.port) == certificate)
            assert infer(SENT, timeout=PATIENCE).outputs, "open connections keep what they have"
        assert metrics()["ready"] == before["ready"] + 1
        assert metrics()["ends"] == [read_identity(rotated.files).end]
    (line,) = [line for line in log.messages if "KEY_VALUES_MISMATCH" in line]
    assert f"--tls-key {rotated.files.key}" in line
