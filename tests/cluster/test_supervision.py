"""Supervision of servers, without a cluster: what is lost is replaced, updates go from one to the next."""

# ruff: noqa: ARG002 - a fake's methods have the arguments of the protocol's

import dataclasses
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.waiting import until
from rnnserve.cluster.errors import ClusterError, RollFailed
from rnnserve.cluster.servers import FleetPlan, ServerReport, ServerSpec
from rnnserve.cluster.supervision import Supervision

OLD, NEW = ServerSpec("/models/old"), ServerSpec("/models/new")


@dataclass
class FakeNodes:
    """Nodes that do at once what they are told.

    Attributes:
        servers: What runs, by name: its place and how it was started.
        lost: Names of those that do not answer.
        gone: Names of those that are gone for good.
        fails: Repositories whose servers do not serve, and whether the proof says so.
        listed: What each node's file lists.
        fewest: How few servers there were in the endpoints at any time.
        ended: Names of those that were let end, each with whether clients had been told before.
    """

    servers: dict = field(default_factory=dict)
    lost: set = field(default_factory=set)
    gone: set = field(default_factory=set)
    fails: dict = field(default_factory=dict)
    listed: dict = field(default_factory=dict)
    ended: list = field(default_factory=list)
    proven: list = field(default_factory=list)

    def found(self):
        return list(self.servers)

    def start(self, place, name, spec):
        assert name not in self.servers
        self.servers[name] = (place, spec)

    def reports(self, names, seconds):
        return {
            name: self._report(name) for name in names if name in self.servers and name not in self.lost | self.gone
        }

    def is_gone(self, name):
        return name in self.gone

    def prove(self, name, spec):
        self.proven.append(name)
        return "no model may serve" if self.fails.get(spec.repository) == "in the proof" else ""

    def stop(self, name):
        address = self._report(name).address
        self.ended.append((name, address in self.listed.get(name, ())))
        del self.servers[name]

    def publish(self, names, endpoints):
        for name in names:
            self.listed[name] = tuple(endpoints)

    def _report(self, name):
        place, spec = self.servers[name]
        listed = self.listed.get(name, ())
        if spec.repository in self.fails:
            return ServerReport(f"10.0.0.{place}:8001", "ended", spec, "the port is taken", 9, listed)
        return ServerReport(f"10.0.0.{place}:8001", "ready", spec, "", 1, listed)


@pytest.fixture
def nodes():
    return FakeNodes()


@pytest.fixture
def plan(tmp_path):
    return FleetPlan("test", 3, OLD, str(tmp_path / "endpoints"))


@pytest.fixture
def supervise(nodes, plan):
    def begin(**changes):
        return Supervision(dataclasses.replace(plan, **changes), nodes, pause=lambda _: None)

    return begin


ALL = ("10.0.0.0:8001", "10.0.0.1:8001", "10.0.0.2:8001")


def in_file(plan):
    lines = Path(plan.endpoints).read_text().splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def names_at(nodes, place):
    return [name for name, (at, _) in nodes.servers.items() if at == place]


def test_each_place_gets_a_server_and_all_are_told(supervise, nodes, plan):
    supervised = supervise()
    supervised.look()
    assert sorted(place for place, _ in nodes.servers.values()) == [0, 1, 2]
    assert supervised.status().endpoints == in_file(plan) == ALL
    assert set(nodes.listed.values()) == {ALL}
    before = dict(nodes.servers)
    supervised.look()
    assert nodes.servers == before


def test_one_that_does_not_answer_is_left_out_and_not_started_twice(supervise, nodes, plan):
    supervised = supervise()
    supervised.look()
    (name,) = names_at(nodes, 1)
    nodes.lost.add(name)
    supervised.look()
    assert in_file(plan) == (ALL[0], ALL[2])
    assert supervised.status().reports[1].state == "lost"
    assert len(nodes.servers) == 3
    nodes.lost.clear()
    supervised.look()
    assert in_file(plan) == ALL


def test_one_that_is_gone_for_good_is_started_anew(supervise, nodes):
    supervised = supervise()
    supervised.look()
    (name,) = names_at(nodes, 1)
    nodes.gone.add(name)
    supervised.look()
    supervised.look()
    assert len(set(names_at(nodes, 1)) - {name}) == 1
    assert supervised.status().endpoints == ALL


def test_an_update_goes_from_one_to_the_next(supervise, nodes, plan):
    supervised = supervise()
    supervised.look()
    before = [names_at(nodes, place)[0] for place in range(3)]
    supervised.roll(NEW)
    assert nodes.proven == before, "each on its own node"
    assert nodes.ended == [(name, False) for name in before], "clients had been told when it ended"
    supervised.look()
    assert in_file(plan) == ALL
    assert {spec for _, spec in nodes.servers.values()} == {dataclasses.replace(NEW, revision=2)}
    roll = supervised.status().roll
    assert roll.is_over
    assert not roll.failed
    assert len(roll.lines) == 3
    assert supervised.status().plan.spec.repository == "/models/new"


def test_an_update_whose_proof_fails_changes_nothing(supervise, nodes):
    nodes.fails["/models/new"] = "in the proof"
    supervised = supervise()
    supervised.look()
    before = dict(nodes.servers)
    with pytest.raises(RollFailed, match=r"10\.0\.0\.0:8001 serves as before, .* would not: no model may serve"):
        supervised.roll(NEW)
    assert nodes.servers == before
    assert not nodes.ended
    assert supervised.status().roll.failed
    del nodes.fails["/models/new"]
    supervised.roll(NEW)  # it may be tried again


def test_an_update_that_fails_after_its_proof_is_taken_back(supervise, nodes):
    nodes.fails["/models/new"] = "later"
    supervised = supervise()
    supervised.look()
    with pytest.raises(RollFailed, match="serves what it did before: the new server, though proven, said: the port is"):
        supervised.roll(NEW)
    supervised.look()
    assert supervised.status().endpoints == ALL
    assert {spec for _, spec in nodes.servers.values()} == {OLD}


def test_when_an_update_is_refused(supervise, nodes):
    alone = supervise(replicas=1)
    alone.look()
    with pytest.raises(ClusterError, match="one server alone cannot be replaced without a gap"):
        alone.roll(NEW)
    supervised = supervise()
    supervised.look()
    nodes.lost.update(names_at(nodes, 2))
    supervised.look()
    with pytest.raises(ClusterError, match="2 of 3 servers serve: a rolling update begins when all do"):
        supervised.roll(NEW)
    nodes.lost.clear()
    supervised.look()
    goes_on, proves = threading.Event(), threading.Event()

    def prove(name, spec):
        proves.set()
        goes_on.wait()
        return ""

    nodes.prove = prove
    rolling = threading.Thread(target=supervised.roll, args=(NEW,))
    rolling.start()
    until(proves.is_set)
    assert not supervised.status().roll.is_over
    with pytest.raises(ClusterError, match="a rolling update is under way"):
        supervised.roll(NEW)
    goes_on.set()
    rolling.join()


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_supervisor_that_is_started_again_takes_over_what_there_is(supervise, nodes, done):
    """Also in the middle of an update: servers of before stay, and what is missing gets what is newest."""
    first = supervise()
    first.look()
    updates = iter([""] * done + ["the node was lost"] * 3)
    nodes.prove = lambda *_: next(updates)
    if done == 3:
        first.roll(NEW)
    else:
        with pytest.raises(RollFailed):
            first.roll(NEW)
    before = dict(nodes.servers)
    second = supervise()
    second.look()
    assert nodes.servers == before
    assert second.status().endpoints == ALL
    (name,) = names_at(nodes, 2)
    nodes.gone.add(name)
    second.look()
    second.look()
    (new,) = set(names_at(nodes, 2)) - {name}
    assert nodes.servers[new][1].repository == ("/models/new" if done else "/models/old")


def test_the_end(supervise, nodes, plan):
    supervised = supervise()
    supervised.look()
    supervised.end()
    assert Counter(told for _, told in nodes.ended) == {False: 3}
    assert in_file(plan) == ()
    supervised.look()
    assert not nodes.servers


def test_a_file_that_cannot_be_written_is_tried_again(supervise, nodes, tmp_path):
    supervised = supervise(endpoints=str(tmp_path / "folder" / "endpoints"))
    supervised.look()
    (tmp_path / "folder").mkdir()
    supervised.look()
    assert (tmp_path / "folder" / "endpoints").read_text().splitlines()[1:] == list(ALL)


def test_a_proof_takes_no_port_of_the_server_beside_it():
    for options, proof in (
        ((), ["--no-http"]),
        (("--no-http",), ["--no-http", "--no-http"]),
        (("--http-port=80",), ["--http-port=80", "--http-port", "0"]),
        (("--metrics-port", "9"), ["--metrics-port", "9", "--no-http", "--metrics-port", "0"]),
    ):
        spec = ServerSpec("/models", options, 8001)
        end = ["--host", "10.0.0.1", "--grpc-port"]
        assert spec.command("10.0.0.1") == ["serve", *options, *end, "8001", "--", "/models"]
        assert spec.command_of_proof("10.0.0.1") == ["serve", *proof, *end, "0", "--", "/models"]
