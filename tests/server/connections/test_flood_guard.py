"""The guard of the lane's thread: who keeps it in one poll is slowed down, and nobody else."""

import contextlib
import socket
import threading
import time

import pytest

from rnnserve.server.connections import flood_guard
from rnnserve.server.connections.flood_guard import (
    Arrived,
    FloodGuard,
    Progress,
    arrived_by_connection,
    bound_window,
)
from rnnserve.server.connections.guard_thread import LOOK_SECONDS

MUCH = flood_guard._MUCH


class Scene:
    """A lane and its connections; time passes by looks of the guard."""

    def __init__(self):
        self.progress = Progress(0, 0.0)
        self.read = {"flood": 0, "polite": 0}
        self.unread, self.expected = {}, {}
        self.bounds = []
        self.at = 0.0
        self.guard = FloodGuard(
            lambda: self.progress, self.arrived, lambda: self.expected, lambda *bound: self.bounds.append(bound)
        )

    def arrived(self):
        return {name: Arrived(read, self.unread.get(name, 0)) for name, read in self.read.items()}

    def look(self, *, turns=0, seconds=LOOK_SECONDS, polls=True, **read):
        """A look after so many turns and seconds of work, and so many bytes read from connections."""
        self.at += LOOK_SECONDS
        turned, worked = self.turned_and_worked
        self.turned_and_worked = turned + turns, worked + seconds
        self.progress = Progress(*self.turned_and_worked) if polls else None
        for name, size in read.items():
            self.read[name] = self.read.get(name, 0) + size
        self.guard.look(self.at)

    turned_and_worked = 0, 0.0

    def flood(self, looks):
        for _ in range(looks):
            self.look(flood=10 * MUCH, polite=100)


@pytest.fixture
def scene():
    scene = Scene()
    scene.look()
    return scene


def test_a_connection_that_keeps_the_lane_in_a_poll_has_a_narrow_window_and_the_least_if_it_goes_on(scene):
    scene.flood(2)
    assert scene.bounds == [("flood", flood_guard._NARROW)]
    scene.flood(3)
    assert scene.bounds[1:] == [("flood", flood_guard._NARROWEST)]


def test_connections_that_would_be_read_next_for_long_are_bounded_with_it_and_no_others(scene):
    scene.read["next"] = 0
    scene.unread = {"next": 100_000, "polite": 10_000}
    scene.look()
    scene.look()
    assert scene.bounds == [], "nobody keeps the lane"
    scene.flood(1)
    assert scene.bounds == [(name, flood_guard._NARROW) for name in ("flood", "next")]


def test_as_much_as_messages_may_be_is_read_in_one_poll_and_no_more(scene):
    """Large ones, on a busy machine; and no connection on which they may be arriving is bounded beside others."""
    scene.expected = {"flood": 45 * MUCH, "next": MUCH}
    scene.read["next"], scene.unread["next"] = 0, 100_000
    scene.flood(5)  # the first is not counted: what was read before it is not known
    assert scene.bounds == []
    scene.flood(1)
    assert scene.bounds == [("flood", flood_guard._NARROW)]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1:50000"),
        ("ipv6:%5B::1%5D:50000", "::1:50000"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:7", "10.0.0.1:7"),
    ],
)
def test_a_connection_has_one_name(peer, address):
    assert flood_guard.address_of(peer) == address


def test_a_lane_that_makes_turns_slows_nobody_down_however_much_arrives(scene):
    for _ in range(50):
        scene.look(turns=1, flood=100 * MUCH)
    assert scene.bounds == []


def test_nor_does_a_lane_that_sleeps_or_runs_batches_however_long(scene):
    for _ in range(50):
        scene.look(seconds=0.0, flood=100 * MUCH)
    for _ in range(50):
        scene.look(polls=False, flood=100 * MUCH)
    assert scene.bounds == []


def test_nor_one_that_reads_little_from_each(scene):
    for _ in range(50):
        scene.look(flood=MUCH - 1, polite=MUCH - 1, third=MUCH - 1)
    assert scene.bounds == []


def test_a_window_is_opened_again_and_bounded_for_twice_as_long_the_next_time(scene, caplog):
    bounded_for = []
    for _ in range(9):
        before = len(scene.bounds)
        scene.flood(3)
        since = scene.at
        while scene.bounds[-1][1] != flood_guard._OPEN:
            scene.look(turns=1)
        bounded_for.append(round(scene.at - since))
        assert scene.bounds[before:] == [("flood", size) for size in (16384, 4096, flood_guard._OPEN)]
    assert bounded_for == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(caplog.records) == 1, "one line, until it has a first time again"
    for _ in range(int(flood_guard._FORGIVEN_SECONDS / LOOK_SECONDS) + 1):
        scene.look(turns=1)
    scene.flood(2)
    assert len(caplog.records) == 2
    for _ in range(int(1 / LOOK_SECONDS) + 2):
        scene.look(turns=1)
    assert scene.bounds[-1] == ("flood", flood_guard._OPEN)


def test_connections_that_have_been_slowed_down_are_not_kept_for_ever(scene):
    for number in range(100):
        name = f"client {number}"
        scene.look(**{name: 0})
        scene.look(**{name: 2 * MUCH})
        scene.look(**{name: 2 * MUCH})
        del scene.read[name]
        for _ in range(100):
            scene.look(turns=1)
    assert len(scene.guard._opened) < 20
    assert not scene.guard._bounded


@pytest.fixture
def connected():
    """Port, and both ends of a connection: the client's and the one that this process has accepted."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = stack.enter_context(listener.accept()[0])
        yield listener.getsockname()[1], client, accepted


def test_what_has_been_read_is_counted_not_what_has_arrived(connected):
    port, client, accepted = connected
    name = "{}:{}".format(*client.getsockname())
    client.sendall(bytes(5000))
    assert len(accepted.recv(5000, socket.MSG_PEEK | socket.MSG_WAITALL)) == 5000
    assert arrived_by_connection(port) == {name: Arrived(0, 5000)}
    accepted.recv(2000)
    assert arrived_by_connection(port) == {name: Arrived(2000, 3000)}


def test_a_bounded_window_takes_less_and_an_opened_one_loses_nothing(connected):
    port, client, accepted = connected
    name = "{}:{}".format(*client.getsockname())
    bound_window(port, "127.0.0.1:1", 4096)  # another's, which is not there
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) > 4096
    bound_window(port, name, 4096)
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == 4096
    bound_window(port, name, flood_guard._OPEN)
    sent = bytes(range(256)) * 40_000
    sender = threading.Thread(target=client.sendall, args=(sent,))
    sender.start()
    received, ends = b"", time.monotonic() + 20
    while len(received) < len(sent) and time.monotonic() < ends:
        received += accepted.recv(1 << 16)
    sender.join(20)
    assert received == sent
