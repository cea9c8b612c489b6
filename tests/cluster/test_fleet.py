"""The rolling update of a fleet: one server after another, each verified first."""

import contextlib
import dataclasses
from typing import Any

import pytest

from rnnserve.cluster.fleet import Fleet
from rnnserve.cluster.servers import ClusterError, ServerReport, ServerSpec

SPEC = ServerSpec("/models")


class FakeFleet(Fleet):
    """Servers that serve at once, except those whose repository says otherwise. Notes what happens."""

    def __init__(self, places=3):
        super().__init__("fake", pause=lambda _: None)
        self.specs = dict.fromkeys(range(places), SPEC)
        self.places = places
        self.log = []
        self.silent = set()

    def replicas(self):
        return self.places

    def found(self):
        return set(self.specs)

    def reports(self):
        return {place: self.report(place, spec) for place, spec in self.specs.items() if place not in self.silent}

    def report(self, place, spec):
        state: Any = "ended" if spec.repository == "/broken" else "ready"
        return ServerReport(f"10.0.0.{place}:8001", state, spec, "" if state == "ready" else "no model", 4)

    def start(self, place, spec):
        self.log.append(("start", place, spec.repository))
        self.specs[place] = spec

    def try_server(self, place, spec):
        self.log.append(("try", place, spec.repository))
        return "its trial failed" if spec.repository == "/refused" else ""

    def stop(self, place):
        self.log.append(("stop", place, self.specs.pop(place).repository))

    def only_one(self):
        return contextlib.nullcontext()

    def roll_to(self, repository):
        lines = []
        self.roll(lambda spec: dataclasses.replace(spec, repository=repository), lines.append)
        return lines


def test_roll_replaces_one_server_after_another():
    fleet = FakeFleet()
    lines = fleet.roll_to("/new")
    assert lines == [f"10.0.0.{place}:8001: tested, and has replaced 10.0.0.{place}:8001" for place in range(3)]
    steps = [(("try", place, "/new"), ("stop", place, "/models"), ("start", place, "/new")) for place in range(3)]
    assert fleet.log == [step for each in steps for step in each]
    assert fleet.status().spec == ServerSpec("/new", revision=2)


def test_update_that_would_not_serve_changes_nothing():
    fleet = FakeFleet()
    with pytest.raises(ClusterError, match=r"10\.0\.0\.0:8001 still serves as before: its trial failed"):
        fleet.roll_to("/refused")
    assert fleet.log == [("try", 0, "/refused")]


def test_failed_replacement_is_rolled_back():
    fleet = FakeFleet()
    with pytest.raises(ClusterError, match="serves the previous models again: no model"):
        fleet.roll_to("/broken")
    assert fleet.specs == dict.fromkeys(range(3), SPEC)


def test_roll_begins_only_when_all_servers_serve():
    fleet = FakeFleet()
    fleet.silent = {1}
    with pytest.raises(ClusterError, match="2 of 3 servers are ready"):
        fleet.roll_to("/new")
    assert fleet.log == []
    with pytest.raises(ClusterError, match=r"can.t be replaced without downtime"):
        FakeFleet(1).roll_to("/new")


def test_roll_fills_a_place_that_an_interrupted_roll_left_empty():
    fleet = FakeFleet()
    del fleet.specs[1]
    fleet.roll_to("/new")
    assert fleet.log[0] == ("start", 1, "/models")
    assert [spec.repository for spec in fleet.specs.values()] == ["/new"] * 3
