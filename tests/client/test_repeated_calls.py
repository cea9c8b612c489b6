"""Retries: which calls are sent again, when, and which error ends them."""

import pytest

from rnnserve.client.errors import ResourceExhausted, Unavailable
from rnnserve.client.remote_calls import Pause, RemoteCall, repeat_call
from rnnserve.protos import inference_pb2 as pb

LOST = Unavailable("the server is stopping")


CALL = RemoteCall("ModelInfer", pb.ModelInferRequest())


@pytest.fixture
def steps():
    """The steps of a call that has been sent for the first time."""
    steps = repeat_call(CALL)
    assert next(steps) is CALL
    return steps


def full(retry_after):
    error = ResourceExhausted("the requests of this token are as many as may be")
    error.retry_after = retry_after
    return error


def test_lost_call_is_sent_again_after_pauses_that_grow_to_a_second(steps):
    pauses = []
    for _ in range(12):
        pause = steps.throw(LOST)
        assert isinstance(pause, Pause)
        pauses.append(pause.seconds)
        assert steps.send(None) is CALL
    assert pauses[0] == 0
    assert all(0.01 * 2**number <= seconds <= 0.02 * 2**number for number, seconds in enumerate(pauses[1:6]))
    assert all(0.5 <= seconds <= 1 for seconds in pauses[7:])
    with pytest.raises(StopIteration):
        steps.send(pb.ModelInferResponse())


def test_full_server_is_retried_after_its_retry_delay(steps):
    for seconds in (0.5, 7.0, 3.0):
        lost = full(seconds)
        pause = steps.throw(lost)
        assert pause.seconds >= seconds
        assert pause.error is lost  # which is raised if the operation has less time
        assert steps.send(None) is CALL


def test_full_server_without_a_retry_delay_is_not_retried(steps):
    with pytest.raises(ResourceExhausted):
        steps.throw(full(None))
