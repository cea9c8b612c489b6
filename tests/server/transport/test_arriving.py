"""Connections whose bytes keep arriving, as the kernel counts them."""

import pytest

from rnnserve.server.connections.flood_guard import Arrived
from rnnserve.server.transport import arriving
from rnnserve.server.transport.arriving import Arriving

FAST, SLOW = "ipv4:127.0.0.1:1", "ipv6:%5B::1%5D:2"
ORDINARY = arriving._ORDINARY


class Scene:
    """Two connections, and a clock."""

    def __init__(self):
        self.at = 0.0
        self.bytes = {"127.0.0.1:1": 0, "::1:2": 0}
        self.arriving = Arriving(self.arrived, lambda: self.at)

    def arrived(self):
        return {name: Arrived(count // 2, count - count // 2) for name, count in self.bytes.items()}

    def look(self, seconds=0.0, fast=0.0, slow=0.0, messages=1):
        """A look after some seconds, in which so many bytes a second have arrived."""
        self.at += seconds
        self.bytes["127.0.0.1:1"] += int(seconds * fast)
        self.bytes["::1:2"] += int(seconds * slow)
        return self.arriving.among({FAST: messages, SLOW: messages})


@pytest.fixture
def scene():
    return Scene()


def test_it_is_not_known_before_some_time_has_passed(scene):
    assert scene.look() is None
    assert scene.look(0.1, fast=9 * ORDINARY) is None
    assert scene.look(0.15, fast=9 * ORDINARY) == {FAST}
