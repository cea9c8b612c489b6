"""Attacks over HTTP, each for some seconds: the gateway keeps serving, and bystanders wait only briefly."""

import contextlib
import socket

import pytest

from campaigns.drills.attacks.http import ATTACKS, may_open, post_of_16_mib
from campaigns.drills.conftest import check_sighting
from campaigns.drills.drilled import drilled
from kit.waiting import until

HOSTILE_SECONDS = 1.0
"""A bystander's longest wait."""

MOST_BYTES, AFTERWARDS_BYTES = 400 << 20, 200 << 20
"""Resident memory of the gateway and of the process that reads large bodies, during an attack and ten seconds later."""

ANSWERED = {"posts_of_16_mib": 200, "names_of_models": 404}
"""Attacks of which each request is answered so."""

ROOM_SECONDS = 10.0
"""After an attack, until a body of 16 MiB finds room again: what is in flight of clients that have gone ends first."""


@pytest.fixture(scope="module")
def front(repository):
    post_of_16_mib()  # computing it once takes a second or more, which must not count as the server's time
    with drilled(repository, http=True) as front:
        yield front


def takes_a_large_body(port):
    """Whether a body of 16 MiB is answered. If there is no room, it is refused before it is read."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=HOSTILE_SECONDS * 20)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(post_of_16_mib())
        with contextlib.suppress(ConnectionError):
            return connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    return False


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_gateway_survives_attack(front, attack, request):
    if not may_open(attack.count):
        pytest.skip("this process may not open as many connections (ulimit -n)")
    pids = front.gateway()
    front.forget()
    said = attack.run(front.http_port)
    seen, peak = front.sightings(), front.memory.peak
    is_small_again = front.memory.settles_below(AFTERWARDS_BYTES)
    print(f"{attack.name}: {dict(said)}")
    for name, sighting in seen.items():
        check_sighting(request, sighting, front.memory, name)
        assert sighting.requests > 0, name
        assert sighting.longest < HOSTILE_SECONDS, name
    assert not [status for status in said if isinstance(status, int) and 500 <= status < 503], said
    assert attack.name not in ANSWERED or set(said) == {ANSWERED[attack.name]}, said
    assert front.gateway() == pids, front.server.log
    assert peak < MOST_BYTES
    assert is_small_again, front.memory.now
    until(lambda: takes_a_large_body(front.http_port), ROOM_SECONDS)
