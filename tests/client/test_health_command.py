"""`rnnserve health`: one line and an exit status."""

import contextlib
import socket

import pytest
from grpc_health.v1 import health, health_pb2

from kit.clients import new_service
from kit.fakes import serving
from rnnserve.cli import main

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@contextlib.contextmanager
def served(**states):
    """A server with the states of models. `server` is the server's own state."""
    servicer = health.HealthServicer()
    for name, state in states.items():
        servicer.set("" if name == "server" else name, state)
    service = new_service()
    with serving(service, states=servicer) as address:
        yield service, address


@pytest.fixture
def outcome(capsys):
    """Runs the command, and returns its exit status and the one line that it prints."""

    def run(*words):
        status = main(["health", *words])
        output, errors = capsys.readouterr()
        (line,) = (output + errors).splitlines()
        assert bool(output) == (status == 0), "failures go to standard error"
        return status, line

    return run


def test_ready_server_and_model_exit_with_0(outcome):
    with served(server=SERVING, good=SERVING) as (_, address):
        for url in (address, f"grpc://{address}"):
            assert outcome(url) == (0, f"ready: {url}")
            assert outcome(url, "--live") == (0, f"live: {url}")
            assert outcome(url, "--model", "good") == (0, f"ready: good at {url}")


def test_model_that_is_not_ready_exits_with_1(outcome):
    with served(server=SERVING, bad=NOT_SERVING) as (_, address):
        status, line = outcome(address, "--model", "bad")
        assert (status, "not ready: bad" in line, "it is NOT_SERVING" in line) == (1, True, True)
        status, line = outcome(address, "--model", "none")
        assert (status, line.endswith("the server has no model 'none'")) == (1, True)


def test_server_may_be_live_without_being_ready(outcome):
    with served(server=NOT_SERVING) as (service, address):
        assert outcome(address)[0] == 1
        assert outcome(address, "--live")[0] == 0
        service.is_live = False
        assert outcome(address, "--live")[0] == 1


def test_http_address_is_refused_with_a_remedy(outcome):
    status, line = outcome("http://127.0.0.1:8000")
    assert status == 1
    assert line.endswith("curl --fail http://127.0.0.1:8000/v2/health/ready")


def test_server_that_does_not_answer_exits_with_1(outcome):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        status, line = outcome(address, "--timeout", "0.2")
        assert (status, line) == (1, f"rnnserve health: not ready: {address}: no response within 0.2 s")
    status, line = outcome(address, "--live")
    assert (status, "not live" in line, "refused" in line) == (1, True, True)


def test_mistakes_are_reported_in_one_line(outcome, capsys):
    for words in (
        ["nonsense"],
        ["127.0.0.1:1", "--tls-ca", "a"],
        ["grpcs://127.0.0.1:1", "--tls-ca", "/nowhere"],
    ):
        assert outcome(*words)[0] == 1
    for words in (["--model", "a", "--live"], ["--timeout", "0"], ["--timeout", "soon"]):
        with pytest.raises(SystemExit) as ended:
            main(["health", *words])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
