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
    """For the sockets of Ray, whose paths may have 107 characters; all machines and clients share it, as /srv."""
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
    """Clients that ask all the while, of a file of endpoints and of a list of all addresses; what fails is counted."""

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


def test_what_cannot_be_is_told_in_one_line(nodes, folder):
    said = nodes.rnnserve("status", check=False)
    assert said.returncode == 1
    assert said.stderr == "rnnserve ray: no servers named 'rnnserve' are up: `rnnserve ray up` starts some\n"
    said = nodes.rnnserve("up", str(REPOSITORY), "--replicas", "4", check=False)
    assert "4 servers need as many nodes, each with 1 CPU free, and 3 of the cluster's 3 have" in said.stderr
    assert said.stderr.count("\n") == 1
    said = nodes.rnnserve("up", str(folder / "nowhere"), "--replicas", "2", check=False)
    assert "does not serve: rnnserve serve: there is no folder" in said.stderr
    assert said.stderr.count("\n") == 1
    assert nodes.rnnserve("status", check=False).returncode == 1, "nothing is left"


def test_an_address_where_no_cluster_is(nodes):
    words = nodes.command("status")
    said = nodes.run(1, *words[:-1], "10.213.77.1:1", check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("rnnserve ray: no cluster answers at 10.213.77.1:1 (Connection refused): ")
    assert said.stderr.count("\n") == 1


def test_a_cluster_wants_its_token(nodes):
    said = nodes.run(2, "env", "RAY_AUTH_TOKEN=another", *nodes.command("status"), check=False)
    assert said.returncode == 1
    assert "rnnserve ray: " in said.stderr
    assert "no servers named" not in said.stderr


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


def test_an_update_that_does_not_serve_changes_nothing(nodes, endpoints, folder):
    before = listed(endpoints)
    broken = folder / "broken"
    shutil.copytree(REPOSITORY, broken)
    (broken / MODEL / "1" / "model.onnx").write_bytes(b"")
    with Load(nodes, endpoints) as load:
        said = nodes.rnnserve("roll", str(broken), check=False)
        load.goes_on()
    load.check("an update that does not serve")
    assert said.returncode == 1
    assert "serves as before, since the new server would not: " in said.stderr
    assert "model.onnx" in said.stderr
    assert said.stderr.count("\n") == 1
    assert listed(endpoints) == before
    assert "revision 2" not in nodes.rnnserve("status").stdout.splitlines()[0]


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


def test_a_server_that_is_killed_is_started_again_on_its_node(nodes, endpoints):
    machine = min(machines_of(endpoints))
    before = nodes.servers(machine)
    with Load(nodes, endpoints) as load:
        nodes.run(machine, "kill", "-KILL", *map(str, before))
        until(lambda: nodes.servers(machine) and not set(before) & set(nodes.servers(machine)), PATIENCE)
        until(lambda: all_serve(nodes), PATIENCE)
        load.goes_on()
    load.check("killed server")


def test_an_actor_that_is_killed_takes_its_server_along_and_starts_another(nodes, endpoints):
    machine = max(machines_of(endpoints))
    before = nodes.servers(machine)
    (actor,) = nodes.actors(machine, "ServerActor")
    with Load(nodes, endpoints) as load:
        nodes.run(machine, "kill", "-KILL", str(actor))
        until(lambda: nodes.servers(machine) and not set(before) & set(nodes.servers(machine)), PATIENCE)
        until(lambda: all_serve(nodes), PATIENCE)
        load.goes_on()
    load.check("killed actor")
    assert len(nodes.servers(machine)) == len(before)


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
