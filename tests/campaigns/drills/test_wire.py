"""Each attack over the wire, for a second, on a server of ours: it serves on, a bystander is never failed.

`python -m campaigns.drills.wire` runs the same ones for longer, on any server.
"""

import pytest

from campaigns.drills.attacked_server import AttackedServer
from campaigns.drills.conftest import note_cost
from campaigns.drills.wire.attacks import calls, management, messages, streams, tensors
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models

SECONDS = 1.0

(MODEL,) = CLASSIFIERS

OF_DEFECTS = {"FILE WRITTEN", "NO CONNECTION", "UNKNOWN"}
"""INTERNAL is not among them: it is what gRPC's own core answers to header fields that it cannot parse."""

OF_ONE_MESSAGE = {"fields without number", "huge texts", "shapes that overflow", "garbage"}
HOSTILE_SECONDS = 1.0
"""A bystander's longest wait during hostile messages of these kinds."""

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory during an attack, and within ten seconds after it."""

ATTACKS = (*messages.ATTACKS, *tensors.ATTACKS, *management.ATTACKS, *calls.ATTACKS, *streams.ATTACKS)
"""Hostile messages and calls are the server's job; floods of frames and connections end at Envoy (`test_envoy`)."""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    publish_models(root)
    return root


@pytest.fixture(scope="module")
def server(published):
    with AttackedServer(published, MODEL) as server:
        yield server


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_a_server_survives(attack, server, request):
    result, log = server.attack(attack, SECONDS)
    is_small_again = server.settles_below(AFTERWARDS_BYTES)
    peak = result.memory[1]
    note_cost(request, result.seen.requests, result.seen.longest, peak, server.resident)
    assert result.answers.counts, "the attack did nothing"
    assert result.seen.failures == {}, result.seen.text
    assert result.seen.requests > 0
    assert result.gone == ()
    if attack.kind in OF_ONE_MESSAGE:
        assert result.seen.longest < HOSTILE_SECONDS
    assert peak < MOST_BYTES
    assert is_small_again, server.resident
    assert "Traceback" not in log, log[:1000]
    assert "internal error" not in "".join([log[:1000], *result.answers.texts])
    assert not result.answers.counts.keys() & OF_DEFECTS, str(result.answers)
