"""New certificates are served over gRPC, by both transports, without a restart or a failed call."""

import contextlib
import datetime as dt
import functools
import re
import socket
import ssl
import threading

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.logged import logged
from kit.rotated_files import WAYS, RotatedFiles, client_context, shown, shows
from kit.waiting import PATIENCE, until
from rnnserve.common import tls_watch
from rnnserve.common.tls_identity import read_identity
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.counting.exposition import exposition
from rnnserve.server.counting.table import used_table
from rnnserve.server.counting.totals import Totals

SENT = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tls_watch, "_LOOK_SECONDS", 0.02)


@contextlib.contextmanager
def served(repository, rotated, kind):
    files = dict(zip(("tls_certificate", "tls_key", "tls_client_ca"), rotated.files, strict=True))
    # One address: of two that "localhost" has, a port that is free at one may be taken at the other.
    with Server(Settings(repository, "127.0.0.1", 0, "cpu", kind, **files)) as server:
        yield server.port


def new_channel(port, rotated, client=None):
    key, chain = (None, None) if client is None else (client.private_key_pem.bytes(), chain_of(client))
    credentials = grpc.ssl_channel_credentials(rotated.trusted, key, chain)
    return grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])


def chain_of(client):
    return b"".join(part.bytes() for part in client.cert_chain_pems)


def ask(channel):
    return rpc.GRPCInferenceServiceStub(channel).ModelInfer(SENT, timeout=PATIENCE)


class Load:
    """Clients that ask all the time: some on one connection, some on a new one for each call."""

    def __init__(self, connect):
        self._connect = connect
        self.answered, self.failed = [0, 0, 0, 0], []
        self._has_ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in range(4)]

    def _ask(self, index):
        channel = self._connect()
        while not self._has_ended.is_set():
            try:
                assert ask(channel).outputs
                self.answered[index] += 1
                if index % 2:
                    channel.close()
                    channel = self._connect()
            except Exception as error:  # noqa: BLE001 - none is to be raised, whatever it is
                self.failed.append(error)
        channel.close()

    def goes_on(self, since):
        """Whether each client has been answered since."""
        return all(now > then for now, then in zip(self.answered, since, strict=True))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._has_ended.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["lane", "public"])
def test_certificates_rotated_ten_times_under_load_fail_no_call(repository, tmp_path, kind, way):
    rotated = RotatedFiles(tmp_path / "tls", way)
    with served(repository, rotated, kind) as port, Load(lambda: new_channel(port, rotated)) as load:
        for _ in range(10):
            certificate = rotated.rotate()
            until(functools.partial(shows, port, certificate))
            until(functools.partial(load.goes_on, list(load.answered)))
    assert not load.failed
    assert min(load.answered) >= 10


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_pair_that_does_not_fit_stops_nothing_and_is_told(repository, tmp_path, kind):
    rotated = RotatedFiles(tmp_path)
    before = metrics()
    with (
        logged("rnnserve.common") as log,
        served(repository, rotated, kind) as port,
        Load(lambda: new_channel(port, rotated)) as load,
    ):
        rotated.replace(certificate=rotated.issued()[0])
        until(lambda: metrics()["refused"] == before["refused"] + 1)
        until(functools.partial(load.goes_on, list(load.answered)))
        assert shown(port) == rotated.certificate
    assert not load.failed
    (line,) = [line for line in log.messages if "KEY_VALUES_MISMATCH" in line]
    assert f"--tls-certificate {rotated.files.certificate} and --tls-key {rotated.files.key}" in line


def metrics():
    totals = Totals()
    totals.add(used_table())
    text = exposition(totals.sums(), {}, "1").decode()
    found = dict(re.findall(r'^rnnserve_tls_reloads_total\{outcome="(\w+)"\} (\d+)$', text, re.MULTILINE))
    ends = re.findall(r"^rnnserve_tls_not_after_timestamp_seconds (\d+)$", text, re.MULTILINE)
    return {name: int(value) for name, value in found.items()} | {"ends": [int(end) for end in ends]}


def test_metrics_follow_what_is_served(repository, tmp_path):
    rotated = RotatedFiles(tmp_path)
    before = metrics()
    with served(repository, rotated, "public"):
        assert metrics()["ends"] == [read_identity(rotated.files).end]
        today = dt.datetime.now(dt.UTC).replace(microsecond=0)
        certificate, key = rotated.issued(not_before=today, not_after=today + dt.timedelta(30))
        rotated.replace(certificate, key)
        until(lambda: metrics()["ends"] == [(today + dt.timedelta(30)).timestamp()])
    assert metrics()["ready"] == before["ready"] + 1


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_another_authority_of_clients_refuses_the_old_ones_and_admits_the_new_ones(repository, tmp_path, kind):
    rotated, other = RotatedFiles(tmp_path, "linked", mutual=True), RotatedFiles(tmp_path / "other").authority
    old, new = rotated.clients.issue_cert("old.example"), other.issue_cert("new.example")
    with served(repository, rotated, kind) as port:
        with new_channel(port, rotated, old) as open_before, new_channel(port, rotated, new) as too_early:
            assert ask(open_before).outputs
            with pytest.raises(grpc.RpcError):
                ask(too_early)
            certificate = rotated.rotate(other)
            until(lambda: shown(port) == certificate)
            assert ask(open_before).outputs, "connections that are open keep what they have"
        with new_channel(port, rotated, new) as channel:
            assert ask(channel).outputs
        with new_channel(port, rotated, old) as channel, pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_every_address_of_a_name_shows_the_new_certificate(repository, tmp_path):
    """gRPC asks for what is new once for all addresses on which it listens."""
    rotated = RotatedFiles(tmp_path)
    context = client_context(rotated.trusted)
    with served(repository, rotated, "public") as port:
        certificate = rotated.rotate()
        until(lambda: shown(port) == certificate)
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as connection:
                if connection.connect_ex((address, port)) != 0:
                    assert family == socket.AF_INET6, "a machine may be without it"
                    continue
                with context.wrap_socket(connection, server_hostname="localhost") as tls:
                    assert ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).encode() == certificate
