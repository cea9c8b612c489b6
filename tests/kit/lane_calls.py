"""Calls on the lane, without the lane."""

import math

import numpy as np

from kit.inference_requests import request
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.arrived_requests import LaneCall

__all__ = ["FakeCall", "asks"]


class FakeCall(LaneCall):
    """A call that keeps what it is answered, and who wants to hear of its end."""

    def __init__(self, payload: bytes, peer: str = "a", deadline: float = math.inf) -> None:
        super().__init__(None, None, deadline)
        self.payload = payload
        self._peer = peer
        self.answers: list[bytes | ServeError] = []
        self.on_cancel = None

    @property
    def is_watched(self):
        return self.on_cancel is not None

    def peer(self):
        return self._peer

    def identity(self):
        return ""

    def watch(self, on_cancel):
        assert not self.is_watched
        self.on_cancel = on_cancel

    def answer(self, payload):
        self.answers.append(payload)

    refuse = answer


def asks(name="direction_simple", sequence=3, id="", **more):
    """A call for one row of so many steps."""
    sent = request(name, {"input": np.zeros((1, sequence, 2), np.float32)}, ["logits"], id=id)
    return FakeCall(sent.SerializeToString(), **more)
