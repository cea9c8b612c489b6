"""A call that waits for its answer: what was too much is let go of as soon as the call has been refused."""

import dataclasses
import gc
import math
import weakref

import numpy as np
import pytest

from kit.checked_requests import checked_request
from rnnserve.server.connections.byte_budget import ByteBudget, HeldBytes
from rnnserve.server.errors import Cancelled, TooMuchHeld
from rnnserve.server.transport.waiting_calls import WaitingCall


class Call:
    connection = "a"


class Asked:
    def origin(self):
        raise NotImplementedError


ASKED = Asked()


@pytest.fixture
def without_garbage_collection():
    gc.disable()
    yield
    gc.enable()


def test_outputs_that_may_not_be_held_are_not_kept_by_the_error(without_garbage_collection):
    """In a cycle of the error, its traceback and a frame they stayed until Python looked for garbage: 200 MB."""
    waiting = WaitingCall(checked_request(1, 4), math.inf, HeldBytes(ByteBudget(1 << 20), Call()), ASKED)
    array = np.zeros(1 << 20, np.float32)
    kept = weakref.ref(array)
    waiting.answer({"output": array})
    del array
    with pytest.raises(TooMuchHeld):
        waiting.wait()
    assert kept() is None


def test_a_request_that_is_cancelled_is_let_go_of_while_it_waits(without_garbage_collection):
    """It has 16 MB, which are not counted any more, and what is before it may take seconds."""
    array = np.zeros((1, 4, 2), np.float32)
    request = dataclasses.replace(checked_request(1, 4), inputs={"input": array})
    kept = weakref.ref(array)
    del array
    waiting = WaitingCall(request, math.inf, HeldBytes(ByteBudget(1 << 20), Call()), ASKED)
    assert waiting.check() is request
    del request
    waiting.cancel()
    assert kept() is None
    with pytest.raises(Cancelled):
        waiting.check()


def test_outputs_are_given_once(without_garbage_collection):
    waiting = WaitingCall(checked_request(1, 4), math.inf, HeldBytes(ByteBudget(1 << 20), Call()), ASKED)
    array = np.zeros(4, np.float32)
    kept = weakref.ref(array)
    waiting.answer({"logits": array})
    assert waiting.wait()["logits"] is array
    del array
    assert kept() is None
