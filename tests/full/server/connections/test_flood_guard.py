"""The guard of the lane's thread: who keeps it in one poll is slowed down, and nobody else."""

import pytest

from rnnserve.server.connections import flood_guard
from rnnserve.server.connections.flood_guard import (
    Arrived,
    FloodGuard,
    Progress,
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
