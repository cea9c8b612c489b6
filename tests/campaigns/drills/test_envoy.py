"""Floods of frames and connections end at Envoy (`deploy/envoy/`): a server behind it serves on."""

import pytest

from campaigns.drills.conftest import note_cost
from campaigns.drills.wire.attacks import connections, frames
from campaigns.drills.wire.bystander import Bystander
from campaigns.drills.wire.drill import drill
from campaigns.drills.wire.resident_memory import resident_bytes
from campaigns.drills.wire.target import Target
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models
from kit.envoy import asked, envoy
from kit.served import served
from kit.waiting import until

SECONDS = 2.0
WAITS_SECONDS = 2.0
"""The longest wait of a bystander that asks the server itself."""
GROWN_BYTES = 32 << 20
"""What the server's memory may grow by: it sees nothing of a flood."""

(MODEL,) = CLASSIFIERS
FLOODS = (*frames.ATTACKS, *connections.ATTACKS)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server, and Envoy before it; gives the server, Envoy's address and that of its administration."""
    root = tmp_path_factory.mktemp("flooded")
    publish_models(root)
    with served(root, "process") as server, envoy(tmp_path_factory.mktemp("envoy"), [server]) as (address, admin):
        until(lambda: "::healthy" in asked(admin, "clusters"))
        yield server, address, admin


@pytest.mark.parametrize("attack", FLOODS, ids=[attack.name for attack in FLOODS])
def test_flood_ends_at_envoy(attack, running, request):
    server, address, _ = running
    behind, attacked = Target(server.address, MODEL), Target(address, MODEL)
    before = resident_bytes(server.process.pid)
    with Bystander(server.address, behind.valid) as bystander:
        (result,) = drill(attacked, [attack], bystander, SECONDS, server.process.pid)
    for target in (behind, attacked):
        target.close()
    note_cost(request, result.seen.requests, result.seen.longest, result.memory[1], resident_bytes(server.process.pid))
    assert result.answers.counts, "the attack did nothing"
    assert result.gone == ()
    assert result.seen.failures == {}, result.seen.text
    assert result.seen.requests > 0
    assert result.seen.longest < WAITS_SECONDS
    assert result.memory[1] < before + GROWN_BYTES
