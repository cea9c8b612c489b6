"""Each attack over gRPC: the server keeps serving, and no request of a bystander fails.

Hostile messages and calls are the server's job. Floods of frames and connections end at Envoy (`deploy/envoy/`).
"""

import pytest

from campaigns.drills.attack import strike
from campaigns.drills.attacks import calls, floods, management, messages
from campaigns.drills.bystander import Bystander
from campaigns.drills.conftest import check_sighting
from campaigns.drills.drilled import SMALL, Memory, drilled
from kit.envoy import asked, envoy
from kit.served import served_process
from kit.waiting import until

OF_DEFECTS = {"NO CONNECTION", "UNKNOWN"}
"""INTERNAL is not among them: it is what gRPC's own core answers to header fields that it cannot parse."""

OF_ONE_MESSAGE = {"many fields", "huge texts", "garbage"}
HOSTILE_SECONDS = 1.0
"""A bystander's longest wait during hostile messages of these kinds."""

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory during an attack, and within ten seconds after it."""

FLOOD_SECONDS = 2.0
"""The longest wait of a bystander that sends requests to the server itself while Envoy is flooded."""

GROWN_BYTES = 32 << 20
"""What the server's memory may grow by then: it sees nothing of a flood."""

ATTACKS = (*messages.ATTACKS, *management.ATTACKS, *calls.ATTACKS)


def by_name(attacks):
    return pytest.mark.parametrize("attack", attacks, ids=[attack.name for attack in attacks])


@pytest.fixture(scope="module")
def attacked(repository):
    """A server and a bystander."""
    with drilled(repository) as attacked, Bystander(attacked.server.address, SMALL) as bystander:
        yield attacked, bystander


@by_name(ATTACKS)
def test_server_survives_attack(attack, attacked, request):
    attacked, bystander = attacked
    at = len(attacked.server.log)
    result = strike(attack, attacked.server.address, bystander, attacked.memory, 1.0)
    peak, is_small_again = attacked.memory.peak, attacked.memory.settles_below(AFTERWARDS_BYTES)
    log = attacked.server.log[at:]
    check_sighting(request, result.seen, attacked.memory)
    assert result.answers.counts, "the attack did nothing"
    assert result.seen.requests > 0
    assert result.gone == []
    if attack.kind in OF_ONE_MESSAGE:
        assert result.seen.longest < HOSTILE_SECONDS
    assert peak < MOST_BYTES
    assert is_small_again, attacked.memory.now
    assert "Traceback" not in log, log[:1000]
    assert "internal error" not in "".join([log, *result.answers.texts.values()])
    assert not result.answers.counts.keys() & OF_DEFECTS, result.answers.texts


@pytest.fixture(scope="module")
def behind_envoy(repository, tmp_path_factory):
    """A server, its memory, its bystander, and the address of an Envoy in front of it."""
    with (
        served_process(repository) as server,
        envoy(tmp_path_factory.mktemp("envoy"), [server]) as (address, admin),
        Memory(server.process.pid) as memory,
        Bystander(server.address, SMALL) as bystander,
    ):
        until(lambda: "::healthy" in asked(admin, "clusters"))
        yield memory, bystander, address


@by_name(floods.ATTACKS)
def test_flood_ends_at_envoy(attack, behind_envoy, request):
    memory, bystander, address = behind_envoy
    before = memory.now
    result = strike(attack, address, bystander, memory, 2.0)
    check_sighting(request, result.seen, memory)
    assert result.answers.counts, "the attack did nothing"
    assert result.gone == []
    assert result.seen.requests > 0
    assert result.seen.longest < FLOOD_SECONDS
    assert memory.peak < before + GROWN_BYTES
