"""`rnnserve ray` on three nodes that are lost in several ways, while clients ask: `make ray-test`.

The tests of this file go on with one cluster, in their order; the last one loses its head.
"""

import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from kit.asked_servers import Asking
from kit.paths import ROOT
from kit.waiting import until
from rnnserve.client import Client

from .three_nodes import machines, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=why_not() or "there are three machines")]

REPOSITORY = ROOT / "load/rnnserve/load/demo_models"
MODEL, BITS = "odd_ones", [[1, 0, 1, 1]]
PATIENCE = 120.0
"""Seconds that Ray may take to notice a loss, and to place a server anew, on two cores."""


@pytest.fixture(scope="module")
def folder():
    """For the sockets of Ray, whose paths may have 107 characters. All machines and clients share it, as /srv."""
    made = Path(tempfile.mkdtemp(prefix="rnn-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def nodes(folder):
    with machines(folder / "ray") as made:
        yield made


@pytest.fixture(scope="module")
def endpoints(folder):
    return folder / "endpoints"


def listed(endpoints):
    return [line for line in endpoints.read_text().splitlines() if not line.startswith("#")]


def machines_of(endpoints):
    """The numbers of the machines that have a server."""
    return {int(address.partition(":")[0].rpartition(".")[2]) for address in listed(endpoints)}


def all_serve(nodes):
    return nodes.rnnserve("status", check=False).stdout.startswith("2 of 2 servers")


class Load:
    """Clients that ask all the while, of a file of endpoints and of a list of all addresses. What fails is counted."""

    def __init__(self, nodes, endpoints):
        every = [f"{nodes.address(machine)}:8001" for machine in (1, 2, 3)]
        # A request on its way to a machine whose cable is cut is known to be lost after 20 s, and is then sent again.
        self._clients = [Client(f"file://{endpoints}", timeout=90), Client(every, timeout=90)]
        self.longest = 0.0
        self._asking = [Asking(self._ask_of(client)) for client in self._clients]

    def __enter__(self):
        for asking in self._asking:
            asking.__enter__()
        self.goes_on()
        return self

    def __exit__(self, *raised):
        for asking in self._asking:
            asking.__exit__(*raised)
        for client in self._clients:
            client.close()

    def goes_on(self):
        for asking in self._asking:
            asking.goes_on(100)

    def check(self, what):
        """No request has failed."""
        failed = [error for asking in self._asking for error in asking.failed]
        answered = sum(asking.answered for asking in self._asking)
        print(f"{what}: {answered} answered, {len(failed)} failed, the longest took {self.longest:.1f} s")
        assert not failed, Counter(map(repr, failed))

    def _ask_of(self, client):
        def ask():
            began = time.monotonic()
            answer = client.infer(MODEL, {"bits": BITS})
            self.longest = max(self.longest, time.monotonic() - began)
            return answer

        return ask


def test_up(nodes, endpoints):
    options = ["--replicas", "2", "--endpoints", str(endpoints), "--serve-options=--no-http"]
    said = nodes.rnnserve("up", str(REPOSITORY), *options).stdout
    assert said.startswith("2 of 2 servers named 'rnnserve' serve\n")
    assert len(machines_of(endpoints)) == 2
    with Client(f"file://{endpoints}") as client:
        assert client.infer(MODEL, {"bits": BITS})
    said = nodes.rnnserve("up", str(REPOSITORY), *options, check=False)
    assert "servers named 'rnnserve' are up: `roll` updates them, `down` ends them" in said.stderr


def test_a_rolling_update_fails_no_request(nodes, endpoints, folder):
    new = folder / "new"
    shutil.copytree(REPOSITORY, new)
    with Load(nodes, endpoints) as load:
        said = nodes.rnnserve("roll", str(new)).stdout.splitlines()
        load.goes_on()
    load.check("rolling update")
    assert said[-1] == "all 2 servers are at revision 2"
    assert len(said) == 3
    assert nodes.rnnserve("status").stdout.count(str(new)) == 2


def test_a_cut_cable(nodes, endpoints):
    (cut, *_) = sorted(machines_of(endpoints) - {1})
    with Load(nodes, endpoints) as load:
        nodes.cut(cut)
        began = time.monotonic()
        until(lambda: cut not in machines_of(endpoints), PATIENCE)
        print(f"left out after {time.monotonic() - began:.1f} s")
        until(lambda: len(machines_of(endpoints) - {cut}) == 2, PATIENCE)
        print(f"replaced after {time.monotonic() - began:.1f} s")
        load.goes_on()
    load.check("cut cable")
    nodes.mend(cut)
    until(lambda: not nodes.servers(cut), PATIENCE)  # Ray ends what it had given up, and the server with it
    nodes.kill(cut)
    nodes.join(cut)


def test_a_node_is_killed(nodes, endpoints):
    (killed, *_) = sorted(machines_of(endpoints) - {1})
    with Load(nodes, endpoints) as load:
        nodes.kill(killed)
        began = time.monotonic()
        until(lambda: killed not in machines_of(endpoints) and len(machines_of(endpoints)) == 2, PATIENCE)
        print(f"replaced after {time.monotonic() - began:.1f} s")
        load.goes_on()
    load.check("killed node")
    nodes.join(killed)
    assert all_serve(nodes)


def test_what_looks_after_the_servers_is_killed_and_takes_over_again(nodes, endpoints):
    def supervisors():
        return [(machine, pid) for machine in (1, 2, 3) for pid in nodes.actors(machine, "SupervisorActor")]

    def said():
        """What `status` says of the servers, and not of a rolling update, which nothing but its supervisor has seen."""
        return nodes.rnnserve("status", check=False).stdout.splitlines()[:4]

    until(lambda: all_serve(nodes), PATIENCE)
    before, servers = said(), {machine: nodes.servers(machine) for machine in (1, 2, 3)}
    ((machine, pid),) = supervisors()
    with Load(nodes, endpoints) as load:
        nodes.run(machine, "kill", "-KILL", str(pid))
        until(lambda: supervisors() and (machine, pid) not in supervisors(), PATIENCE)
        until(lambda: said() == before, PATIENCE)
        load.goes_on()
    load.check("killed supervisor")
    assert {machine: nodes.servers(machine) for machine in (1, 2, 3)} == servers


def test_the_head_is_lost_and_serving_goes_on(nodes, endpoints):
    left = machines_of(endpoints) - {1}
    assert left
    assert not nodes.actors(1, "SupervisorActor"), "it avoids the head"
    with Load(nodes, endpoints) as load:
        nodes.kill(1)
        threading.Event().wait(20)
        load.goes_on()
        until(lambda: machines_of(endpoints) == left, PATIENCE)
        load.goes_on()
    load.check("lost head")
    assert all(nodes.servers(machine) for machine in left)
