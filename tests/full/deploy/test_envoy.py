"""Envoy before three servers, with the configuration of `deploy/envoy/`, as processes."""

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest

from kit.asked_servers import MODEL, WALK, kill_drain_and_bring_back, requests_at, started_servers
from kit.inference_requests import arrays, request
from kit.paths import ROOT
from kit.waiting import PATIENCE, until
from rnnserve.client import Client
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

CONFIGURATION = ROOT / "deploy/envoy/envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"


@contextlib.contextmanager
def envoy(folder, servers):
    """Run Envoy before servers; gives its address, and that of its administration."""
    text = CONFIGURATION.read_text()
    for number, server in enumerate(servers, 1):
        host, _, port = server.address.rpartition(":")
        text, count = re.subn(
            rf"address: server-{number}, port_value: 8001", f"address: {host}, port_value: {port}", text
        )
        assert count == 1
    text, count = re.subn(r"(address: )\S+, port_value: (8001|9901)", r"\g<1>127.0.0.1, port_value: 0", text)
    assert count == 2
    (folder / "envoy.yaml").write_text(text)
    command = [ENVOY, "--config-path", folder / "envoy.yaml", "--admin-address-path", folder / "admin"]
    command += ["--concurrency", "1", "--base-id-path", folder / "base", "--use-dynamic-base-id"]
    with (folder / "envoy.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(lambda: process.poll() is None and (folder / "admin").exists() and (folder / "admin").read_text())
            admin = (folder / "admin").read_text()
            until(lambda: asked(admin, "ready") == "LIVE")
            (listener,) = json.loads(asked(admin, "listeners?format=json"))["listener_statuses"]
            yield f"127.0.0.1:{listener['local_address']['socket_address']['port_value']}", admin
        finally:
            process.terminate()
            process.wait(PATIENCE)


def asked(admin, path):
    """What Envoy's administration says."""
    try:
        with urllib.request.urlopen(f"http://{admin}/{path}", timeout=PATIENCE) as said:
            return said.read().decode().strip()
    except OSError:
        return ""


def test_envoy_accepts_the_configuration_and_no_wrong_field(tmp_path):
    (tmp_path / "right.yaml").write_text(CONFIGURATION.read_text())
    (tmp_path / "wrong.yaml").write_text(CONFIGURATION.read_text().replace("lb_policy: LEAST", "lb_polcy: LEAST"))
    for name, is_valid in (("right.yaml", True), ("wrong.yaml", False)):
        command = [ENVOY, "--mode", "validate", "--config-path", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode == 0) == is_valid, done.stderr
        assert ("lb_polcy" in done.stderr) != is_valid


@pytest.fixture(scope="module")
def running(repository, tmp_path_factory):
    """A function that starts servers, three of them, and Envoy's addresses."""
    folder = tmp_path_factory.mktemp("envoy")
    with started_servers(repository) as start:
        servers = start(0, 0, 0)
        with envoy(folder, servers) as (address, admin):
            yield start, servers, address, admin


def test_steps_of_a_kept_sequence_go_to_one_server(running):
    """Those of our client, and of any that names the sequence in the header that the configuration looks at."""
    _, servers, address, _ = running
    with Client(address) as client:
        until(lambda: client.is_ready(MODEL))
        for _ in range(12):
            before = [requests_at(server) for server in servers]
            with client.session(MODEL, state="server") as session:
                for point in WALK[0, :3]:
                    session.step(point)
            after = [requests_at(server) for server in servers]
            assert sorted(new - old for new, old in zip(after, before, strict=True)) == [0, 0, 3]
        assert len([server for server in servers if requests_at(server)]) > 1


def test_no_request_fails_while_servers_end_and_come(running):
    """Clients that send nothing again: what is lost, Envoy does."""
    start, servers, address, admin = running
    with grpc.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        message = request(MODEL, {"input": WALK})
        kill_drain_and_bring_back(start, servers, lambda: arrays(stub.ModelInfer(message, timeout=PATIENCE)))
    # The one that was drained is out, by what it says of its health, and not as an outlier, which would come back.
    until(
        lambda: (
            (statistic(admin, "membership_healthy"), statistic(admin, "outlier_detection.ejections_active")) == (2, 0)
        )
    )
    assert statistic(admin, "health_check.failure") > 0


def statistic(admin, name):
    """One of Envoy's numbers of the servers."""
    return int(asked(admin, f"stats?filter=^cluster.servers.{name}$").rpartition(": ")[2])
