"""Floods on the public transport: told from messages by their bytes, in times in which few messages come."""

from collections import Counter

import pytest

from rnnserve.server.connections import flood_guard
from rnnserve.server.connections.flood_guard import Arrived, FloodGuard
from rnnserve.server.connections.guard_thread import LOOK_SECONDS
from rnnserve.server.transport import public_progress
from rnnserve.server.transport.public_progress import PublicProgress
from rnnserve.server.transport.received_bytes import ReceivedBytes

MUCH = flood_guard._MUCH
MESSAGE, AHEAD = 20 * MUCH, MUCH
MANY, FEW = (int(factor * public_progress._FEW * LOOK_SECONDS) for factor in (1.5, 0.5))
FLOOD, POLITE = "127.0.0.1:1", "::1:2"
NAMES = {FLOOD: "ipv4:127.0.0.1:1", POLITE: "ipv6:%5B::1%5D:2"}


class Scene:
    """A server's connections and the pools behind them; time passes by looks of the guard."""

    def __init__(self):
        self.received = ReceivedBytes()
        self.waiting = []
        self.read = Counter({FLOOD: 0, POLITE: 0})
        self.worked = self.at = 0.0
        self.bounds = []
        self.progress = PublicProgress(self.received, [self], MESSAGE, AHEAD, lambda: self.worked, lambda: self.at)
        self.guard = FloodGuard(
            self.progress.progress,
            lambda: {name: Arrived(read, 0) for name, read in self.read.items()},
            self.progress.expected,
            lambda *bound: self.bounds.append(bound),
        )

    def awaited(self):
        return self.waiting

    def look(self, *, messages=0, seconds=LOOK_SECONDS, **read):
        """A look after so many messages and seconds of work, and bytes read from "flood" and "polite"."""
        self.at += LOOK_SECONDS
        self.worked += seconds
        self.received.messages += messages
        self.read.update({FLOOD: read.get("flood", 0), POLITE: read.get("polite", 0)})
        self.guard.look(self.at)

    def receive(self, name, size):
        """A message of a connection."""
        self.received.messages += 1
        if self.received.by_connection is not None:
            self.received.by_connection[NAMES[name]] += size


@pytest.fixture
def scene():
    scene = Scene()
    scene.look(messages=MANY)
    return scene


def test_a_connection_whose_bytes_are_no_messages_is_bounded_where_few_come(scene):
    for _ in range(4):
        scene.look(messages=FEW, flood=4 * MUCH, polite=100)
    assert scene.bounds[0] == (FLOOD, flood_guard._NARROW)
    assert {name for name, _ in scene.bounds} == {FLOOD}


@pytest.mark.parametrize("look", [{"messages": MANY}, {"seconds": 0.0}], ids=["many messages", "no work"])
def test_none_is_where_many_come_or_the_server_has_nothing_to_do(scene, look):
    for number in range(50):
        scene.look(**look, flood=9 * MUCH if number > public_progress._LOOKS else 0)
        if number > public_progress._LOOKS:
            assert scene.received.by_connection is None, "none is counted"
    assert scene.bounds == []


def test_a_server_that_a_busy_machine_gives_little_time_is_not_idle(scene):
    for number in range(20):
        scene.look(seconds=LOOK_SECONDS if number % 5 == 0 else 0.0, flood=4 * MUCH)
    assert scene.bounds[0] == (FLOOD, flood_guard._NARROW)


def test_large_messages_are_no_flood_however_many_one_after_another(scene):
    scene.waiting = [NAMES[POLITE]]
    for number in range(400):
        scene.look(polite=2 * MUCH)
        if number % 10 == 9:
            scene.receive(POLITE, MESSAGE)
    assert scene.bounds == []


def test_a_flood_beside_a_message_that_never_ends_is_one_soon(scene):
    scene.waiting = [NAMES[FLOOD]]
    for _ in range(50):
        scene.look(flood=2 * MUCH)
    assert scene.bounds[0] == (FLOOD, flood_guard._NARROW)


def test_calls_that_wait_for_a_thread_have_sent_something_ahead(scene):
    scene.waiting = [NAMES[POLITE]] * 30
    assert scene.progress.expected() == {POLITE: 4 * MESSAGE + 30 * AHEAD}
    scene.look()
    scene.receive(POLITE, 7)
    assert scene.progress.expected() == {POLITE: 4 * MESSAGE + 30 * AHEAD + 7}
    scene.look(messages=MANY)
    assert scene.progress.expected() == {POLITE: 4 * MESSAGE + 30 * AHEAD}
