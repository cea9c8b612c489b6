"""Each attack over the wire, for a second, on a server of ours: it serves on, a bystander is never failed.

`python -m campaigns.drills.wire` runs the same ones for longer, on any server; docs/lab/attacks.md has what they met.
"""

import math

import pytest

from campaigns.drills.attacked_server import AttackedServer
from campaigns.drills.conftest import note_cost
from campaigns.drills.wire.attacks import ATTACKS, frames, messages, tensors, windows
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models

SECONDS = 1.0

(MODEL,) = CLASSIFIERS

OF_DEFECTS = {"FILE WRITTEN", "NO CONNECTION", "UNKNOWN"}
"""INTERNAL is not among them: it is what gRPC's own core answers to header fields that it cannot parse."""

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory during an attack, and within ten seconds after it."""

LONGEST_SECONDS = dict.fromkeys(windows.ATTACKS, 1.0)
"""A bystander's longest wait, where nothing else bounds what a connection costs others."""

DRILLS = [("lane", attack) for attack in ATTACKS]
DRILLS += [("public", attack) for attack in (*messages.ATTACKS, *tensors.ATTACKS, *frames.ATTACKS, *windows.ATTACKS)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked")
    publish_models(root)
    return root


@pytest.fixture(scope="module")
def servers(published):
    options = ("--provider", "cpu", "--transport")
    with (
        AttackedServer(published, MODEL, *options, "lane") as lane,
        AttackedServer(published, MODEL, *options, "public") as public,
    ):
        yield {"lane": lane, "public": public}


@pytest.mark.parametrize(("transport", "attack"), DRILLS, ids=[f"{on}-{attack.name}" for on, attack in DRILLS])
def test_a_server_survives(transport, attack, servers, request):
    server = servers[transport]
    result, log = server.attack(attack, SECONDS)
    is_small_again = server.settles_below(AFTERWARDS_BYTES)
    peak = result.memory[1]
    note_cost(request, result.seen.requests, result.seen.longest, peak, server.resident)
    assert result.answers.counts, "the attack did nothing"
    assert result.seen.failures == {}, result.seen.text
    assert result.seen.requests > 0
    assert result.seen.longest < LONGEST_SECONDS.get(attack, math.inf)
    assert result.gone == ()
    assert peak < MOST_BYTES
    assert is_small_again, server.resident
    assert "Traceback" not in log, log[:1000]
    assert "internal error" not in "".join([log[:1000], *result.answers.texts])
    assert not result.answers.counts.keys() & OF_DEFECTS, str(result.answers)
