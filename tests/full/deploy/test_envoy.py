"""Envoy before three servers, with the configuration of `deploy/envoy/`, as processes."""

import subprocess

import grpc
import pytest

from kit.asked_servers import MODEL, WALK, kill_drain_and_bring_back, requests_at, started_servers
from kit.envoy import CONFIGURATION, ENVOY, asked, envoy
from kit.inference_requests import arrays, request
from kit.waiting import PATIENCE, until
from rnnserve.client import Client
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub


def test_envoy_accepts_the_configuration_and_rejects_wrong_fields(tmp_path):
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


def test_steps_of_a_server_side_sequence_go_to_one_server(running):
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


def test_no_request_fails_while_servers_end_and_start(running):
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
