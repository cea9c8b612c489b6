"""How many messages are received at once, and whose is next, for the numbers of both transports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.receive_window import ReceiveWindow

LARGE = SMALL + 1
LATE = 0.5


class Receiver:
    """One of a connection. The connection's name costs time, so it may not be asked for where that is not needed."""

    def __init__(self, name, *, may_be_named=True):
        self.name = name
        self._may_be_named = may_be_named

    def peer(self):
        assert self._may_be_named
        return self.name[0]


class Clock:
    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def names_of(receivers):
    return [receiver.name for receiver in receivers if receiver is not None]


def those_whose_turn_it_is(window):
    return names_of(iter(window.next, None))


STEPS = st.lists(st.sampled_from(["come", "small", "large", "pass", "next"]), max_size=200)


@given(STEPS, st.sampled_from([(8, 2, 0), (12, 2, 256), (3, 1, 2)]))
def test_nobody_is_lost_and_no_more_are_received_than_may(steps, numbers):
    """Whatever happens, and with the short way that the lane takes in the usual state."""
    clock = Clock()
    at_once, after_large, in_order = numbers
    window = ReceiveWindow(at_once, after_large, LATE, in_order=in_order, clock=clock)
    came, received, late = 0, 0, 0
    for step in steps:
        started = None
        if step == "come":
            came += 1
            if window.taken < window.limit:
                window.taken += 1
                received += 1
            else:
                window.wait(Receiver(f"{'abc'[came % 3]}{came}"))
        elif step in ("small", "large") and window.taken:
            late = min(late, window.taken - 1)
            if window.is_usual and step == "small" and window.waiting:
                assert (started := window.pass_on()) is not None
            elif window.is_usual and step == "small":
                window.taken -= 1
                assert window.limit == at_once
            else:
                started = window.give_back(1 if step == "small" else LARGE)
                assert started is None or step == "small"
        elif step == "pass":
            clock.at += LATE
            is_held_up = window.waiting and window.taken >= window.limit
            window.pass_late()
            late = window.taken if is_held_up else late
            assert not is_held_up or window.taken < window.limit
        elif step == "next":
            may_start = window.waiting > 0 and window.taken < window.limit
            started = window.next()
            assert (started is not None) == may_start
        received += started is not None
        assert after_large <= window.limit - late <= at_once
        assert started is None or window.taken <= window.limit
        assert window.waiting == came - received
    while window.waiting:
        clock.at += LATE
        window.pass_late()
        received += len(those_whose_turn_it_is(window))
    assert received == came
