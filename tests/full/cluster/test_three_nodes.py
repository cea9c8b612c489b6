"""`rnnserve ray` on three nodes that are lost in several ways, while clients ask: `make ray-test`.

The tests of this file go on with one cluster, in their order; the last one loses its head.
"""

import contextlib
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kit.asked_servers import asking
from kit.paths import ROOT
from kit.waiting import until
from rnnserve.client import Client, ClientError

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


def machines_of(nodes):
    """The numbers of the machines whose server is ready."""
    found = set()
    for machine in (1, 2, 3):
        with contextlib.suppress(ClientError), Client(f"{nodes.address(machine)}:8001", timeout=1) as client:
            found |= {machine} if client.is_ready() else set()
    return found


class Load:
    """A client that asks all the while, of a list of all addresses. What fails is counted."""

    def __init__(self, nodes):
        every = [f"{nodes.address(machine)}:8001" for machine in (1, 2, 3)]
        # A request on its way to a machine whose cable is cut is known to be lost after 20 s, and is then sent again.
        self._client = Client(every, timeout=90)
        self.longest = 0.0
        self._asking = asking(self._ask)
        self._running = self._asking.running()

    def __enter__(self):
        self._running.__enter__()
        self.goes_on()
        return self

    def __exit__(self, *raised):
        self._running.__exit__(*raised)
        self._client.close()

    def goes_on(self):
        self._asking.goes_on(100)

    def check(self, what):
        """No request has failed."""
        print(f"{what}: {dict(self._asking.said)}, the longest took {self.longest:.1f} s")
        assert not self._asking.failed

    def _ask(self):
        began = time.monotonic()
        answer = self._client.infer(MODEL, {"bits": BITS})
        self.longest = max(self.longest, time.monotonic() - began)
        return answer


def test_up_starts_one_server_per_node(nodes):
    options = ["--replicas", "2", "--serve-options=--no-http"]
    said = nodes.rnnserve("up", str(REPOSITORY), *options).stdout
    assert said.startswith("2 of 2 servers named 'rnnserve' serve\n")
    assert len(machines_of(nodes)) == 2
    said = nodes.rnnserve("up", str(REPOSITORY), *options, check=False)
    assert (
        "servers named 'rnnserve' are already running; update them with `roll`, or stop them with `down`" in said.stderr
    )


def test_rolling_update_fails_no_request(nodes, folder):
    new = folder / "new"
    shutil.copytree(REPOSITORY, new)
    with Load(nodes) as load:
        said = nodes.rnnserve("roll", str(new)).stdout.splitlines()
        load.goes_on()
    load.check("rolling update")
    assert said[-1] == "all 2 servers are at revision 2"
    assert len(said) == 3
    assert nodes.rnnserve("status").stdout.count(str(new)) == 2


def test_server_of_a_disconnected_node_is_replaced(nodes):
    (cut, *_) = sorted(machines_of(nodes) - {1})
    with Load(nodes) as load:
        nodes.cut(cut)
        began = time.monotonic()
        until(lambda: cut not in machines_of(nodes), PATIENCE)
        print(f"left out after {time.monotonic() - began:.1f} s")
        until(lambda: len(machines_of(nodes) - {cut}) == 2, PATIENCE)
        print(f"replaced after {time.monotonic() - began:.1f} s")
        load.goes_on()
    load.check("cut cable")
    nodes.mend(cut)
    until(lambda: not nodes.servers(cut), PATIENCE)  # Ray ends what it had given up, and the server with it
    nodes.kill(cut)
    nodes.join(cut)


def test_serving_continues_when_the_head_node_is_lost(nodes):
    left = machines_of(nodes) - {1}
    assert left
    with Load(nodes) as load:
        nodes.kill(1)
        threading.Event().wait(20)
        load.goes_on()
        until(lambda: machines_of(nodes) == left, PATIENCE)
        load.goes_on()
    load.check("lost head")
    assert all(nodes.servers(machine) for machine in left)
