"""`rnnserve ray` without a cluster: mistakes are one line, and the arguments reach the cluster."""

import contextlib
import sys

import pytest

from rnnserve.cli import main
from rnnserve.cluster.commands import ray as command
from rnnserve.cluster.servers import FleetStatus, ServerReport, ServerSpec


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "'statsu' is not one of up, status, roll, down; did you mean status?"),
        (["up", "repository", "--replicas", "none"], "'none': expected a number of 1 or more"),
        (["up", "repository", "--replicas", "2", "--cpus", "-1"], "'-1': expected a number, such as 1 or 0.5"),
        (["up", "repository", "--replicas", "2", "--endpoints", "/x"], "no option --endpoints"),
        (
            ["up", "repository", "--replicas", "2", "--serve-options=--host=::"],
            "servers listen on the address",
        ),
        (["up", "repository", "--replicas", "2", "--grpc-port", "0"], "'0': expected a port from 1 to 65535"),
        (
            ["up", "repository", "--replicas", "2", "--grpc-prot", "1"],
            "no option --grpc-prot; did you mean --grpc-port?",
        ),
        (["roll", "--serve-options='"], "No closing quotation"),
    ],
)
def test_wrong_arguments_are_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ray", *words])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_missing_ray_names_its_extra(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "rnnserve.cluster.on_ray.ray_fleet", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["ray", "status"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rnnserve ray: needs the package ray")
    assert "pip install '.[ray]'" in line


STATUS = FleetStatus(
    "rnnserve",
    {
        0: ServerReport("10.0.0.1:8001", "ready", ServerSpec("/models", revision=3), "", 1),
        1: ServerReport("", "lost", said="it does not answer"),
    },
)


class FakeFleet:
    """Records the calls of the command."""

    def __init__(self):
        self.asked = []
        self.has_token = True
        self.status_of = STATUS
        self.refusal = None

    def up(self, *arguments):
        self.asked.append(arguments)
        return self.status_of

    def status(self):
        return self.status_of

    def roll(self, change, tell):
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(change(ServerSpec("/models", ("--drain", "2"))))
        tell("10.0.0.1:8001: tested, and has replaced 10.0.0.1:8001")
        return self.status_of

    def down(self):
        self.asked.append("down")


@pytest.fixture
def fleet(monkeypatch):
    fake = FakeFleet()

    @contextlib.contextmanager
    def connected(args):
        fake.asked.append((args.name, args.address))
        yield fake

    monkeypatch.setattr(command, "_connected", connected)
    return fake


def test_up_starts_the_servers_and_prints_their_status(fleet, capsys):
    words = ["--replicas", "2", "--cpus", "2", "--gpus", "0.5", "--grpc-port", "9001"]
    options = "--serve-options=--threads 2 --drain 2"
    assert main(["ray", "up", "/models", *words, options, "--timeout", "5", "--name", "a", "--address", "h:1"]) == 0
    spec = ServerSpec("/models", ("--threads", "2", "--drain", "2"), 9001)
    assert fleet.asked == [("a", "h:1"), (spec, 2, {"CPU": 2, "GPU": 0.5}, 5)]
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "1 of 2 servers named 'rnnserve' serve",
        "server  address        state  revision  repository",
        "     0  10.0.0.1:8001  ready         3  /models",
        "     1  -              lost          -  -           it does not answer",
        "for clients: --url 10.0.0.1:8001",
    ]


def test_cluster_without_a_token_is_warned_about(fleet, capsys):
    fleet.has_token = False
    assert main(["ray", "up", "/models", "--replicas", "2"]) == 0
    said = capsys.readouterr().err
    assert "this cluster asks for no token" in said
    assert "RAY_AUTH_MODE=token" in said
    assert said.count("\n") == 1
