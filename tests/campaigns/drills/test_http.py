"""Attacks over HTTP, each for some seconds: the front serves on, and bystanders over HTTP and gRPC wait little.

slowhttptest's three, where it is installed, and our own of the same kind, which need no package.
"""

import contextlib
import re
import shutil
import socket
import subprocess

import pytest

from campaigns.drills.conftest import note_cost
from campaigns.drills.drilled_front import drilled_front
from campaigns.drills.http.attacks import ATTACKS, CONNECTIONS, JSON_16_MIB, post
from campaigns.drills.http.crowd import may_open
from kit.waiting import until

HOSTILE_SECONDS = 1.0
"""A bystander's longest wait."""

MOST_BYTES, AFTERWARDS_BYTES = 300 << 20, 200 << 20
"""Resident memory of the front, and of the process that reads large bodies, while it is attacked; of both together
within ten seconds after it."""

ANSWERED = {"posts_of_16_mib": 200, "names_of_models": 404}
"""Attacks of which each request is answered so."""

ROOM_SECONDS = 10.0
"""After an attack, until a body of 16 MiB finds room again: what is in hand of clients that have gone ends first."""

SLOWHTTPTEST = shutil.which("slowhttptest")


@pytest.fixture(scope="module")
def front(repository):
    with drilled_front(repository) as front:
        yield front


@pytest.fixture
def survives(front, request):
    """The front, before an attack. After it, what is promised is checked."""
    pid, log = front.front(), len(front.process.log)
    front.sightings()
    front.forget_peak()
    yield front
    seen = front.sightings()
    peak, reader_peak = front.peak, front.reader_peak
    is_small_again = front.settles_below(AFTERWARDS_BYTES)
    logged = front.process.log[log:]
    for name, sighting in seen.items():
        note_cost(request, sighting.requests, sighting.longest, peak, sum(front.resident()), name)
    assert front.front() == pid, logged
    for name, sighting in seen.items():
        assert sighting.failures == {}, (name, sighting)
        assert sighting.requests > 0, name
        assert sighting.longest < HOSTILE_SECONDS, name
    assert peak < MOST_BYTES
    assert reader_peak < MOST_BYTES
    assert is_small_again, front.resident()
    until(lambda: takes_a_large_body(front.port), ROOM_SECONDS)
    assert "Traceback" not in logged, logged[:2000]
    assert "internal error" not in logged, logged[:2000]


def takes_a_large_body(port):
    """Whether a body of 16 MiB is answered. Where it finds no room, it is refused before it has been read."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=HOSTILE_SECONDS * 20)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(post(JSON_16_MIB()))
        with contextlib.suppress(ConnectionError):
            return connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    return False


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_front_survives(survives, attack):
    if not may_open(CONNECTIONS.get(attack, 0)):
        pytest.skip("this process may not open as many connections (ulimit -n)")
    said = ATTACKS[attack](survives.port)
    print(f"{attack}: {dict(said)}")
    assert not [status for status in said if isinstance(status, int) and 500 <= status < 503], said
    if attack in ANSWERED:
        assert set(said) == {ANSWERED[attack]}, said


@pytest.mark.skipif(SLOWHTTPTEST is None, reason="slowhttptest is not installed (Debian: slowhttptest)")
@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_slowhttptest(survives, kind):
    """3,000 connections: heads, bodies, and reading."""
    if not may_open(3000):
        pytest.skip("this process may not open as many connections (ulimit -n)")
    path = "openapi.json" if kind == "-X" else "v2/models/direction_simple/infer"
    command = [SLOWHTTPTEST, kind, "-c", "3000", "-r", "1500", "-i", "1", "-l", "6", "-p", "2"]
    command += ["-w", "10", "-y", "20", "-n", "1", "-z", "1"] if kind == "-X" else ["-s", "100000"]
    url = f"http://127.0.0.1:{survives.port}/{path}"
    done = subprocess.run([*command, "-u", url], capture_output=True, text=True, check=False, timeout=60)
    said = re.findall(r"service available:\s+(YES|NO)", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout))
    assert said, done.stdout + done.stderr
    assert said[-1] == "YES"
