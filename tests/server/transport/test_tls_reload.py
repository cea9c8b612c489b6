"""New certificates are served without a restart. Files that do not fit are rejected."""

import re
from typing import Any

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.logged import logged
from kit.rotated_files import RotatedFiles, shown
from kit.served import served
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_watch
from rnnserve.common.tls_identity import read_identity
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.counting.exposition import Exposition, Totals
from rnnserve.server.counting.table import used_table

SENT = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tls_watch, "_LOOK_SECONDS", 0.02)


def metrics():
    totals = Totals()
    totals.add(used_table())
    text = Exposition(totals, "1").text()[0].decode()
    found = dict(re.findall(r'^rnnserve_tls_reloads_total\{outcome="(\w+)"\} (\d+)\.0$', text, re.MULTILINE))
    ends = re.findall(r"^rnnserve_tls_not_after_timestamp_seconds (\S+)$", text, re.MULTILINE)
    return {name: int(value) for name, value in found.items()} | {"ends": [float(end) for end in ends]}


def test_rotated_certificate_is_shown_and_a_pair_that_does_not_fit_is_rejected(repository, tmp_path):
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
