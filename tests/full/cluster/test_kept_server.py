"""A server that is kept on a node, as processes: started again, proven, ended with its keeper."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from kit.held_ports import held_port
from kit.paths import ROOT
from kit.running_processes import children_of, is_running
from kit.waiting import until
from rnnserve.client import Client
from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerSpec

REPOSITORY = ROOT / "load/rnnserve/load/demo_models"


@pytest.fixture
def spec():
    with held_port() as port:
        yield ServerSpec(str(REPOSITORY), ("--no-http",), port)


@pytest.fixture
def keep():
    """Keeps a server on 127.0.0.1. All end with the test."""
    kept = []

    def begin(spec):
        kept.append(KeptServer("127.0.0.1", spec))
        return kept[-1]

    yield begin
    for server in kept:
        server.stop()


def serves(server):
    until(lambda: server.report().state == "ready")
    with Client(server.report().address) as client:
        assert client.is_ready()


def pid_of(spec):
    (pid,) = children_of(os.getpid(), f"--grpc-port\0{spec.port}\0".encode())
    return pid


def test_killed_server_is_started_again(spec, keep):
    server = keep(spec)
    serves(server)
    before = pid_of(spec)
    os.kill(before, signal.SIGKILL)
    until(lambda: server.report().starts == 2)
    serves(server)
    assert pid_of(spec) != before
    server.stop()
    assert server.report().state == "ended"
    assert not children_of(os.getpid(), f"--grpc-port\0{spec.port}\0".encode())


def test_update_is_tested_beside_the_running_server(spec, keep, tmp_path):
    server = keep(spec)
    serves(server)
    before = pid_of(spec)
    assert server.try_server(spec) == ""
    assert "tmp" in server.try_server(dataclasses.replace(spec, repository=str(tmp_path / "none")))
    assert (pid_of(spec), server.report().state) == (before, "ready")


KEEPER = """
import sys, threading
from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerSpec
server = KeptServer("127.0.0.1", ServerSpec(sys.argv[1], ("--no-http",), int(sys.argv[2])))
while server.report().state != "ready":
    threading.Event().wait(0.05)
print(server._process.pid, flush=True)
threading.Event().wait()
"""


def test_server_ends_with_its_supervising_process(spec):
    command = [sys.executable, "-c", KEEPER, str(REPOSITORY), str(spec.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            pid = int(keeper.stdout.readline())
            assert os.getpgid(pid) == pid, "a group of its own"
            started = children_of(pid)
        finally:
            keeper.kill()
    until(lambda: not any(map(is_running, [pid, *started])))
