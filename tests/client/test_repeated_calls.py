"""Which error ends an operation whose calls are sent again."""

import pytest

from rnnserve.client.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from rnnserve.client.remote_calls import Pause, RemoteCall
from rnnserve.client.repeated_calls import repeat_calls
from rnnserve.protos import inference_pb2 as pb


def operation():
    return (yield RemoteCall("ModelInfer", pb.ModelInferRequest()))


def test_time_that_runs_out_in_a_call_that_is_sent_again_raises_the_loss():
    """The loss says why there was no answer; that the deadline came in the next call, by chance, does not."""
    steps = repeat_calls(operation())
    next(steps)
    lost = Unavailable("the server is stopping")
    assert isinstance(steps.throw(lost), Pause)
    assert isinstance(steps.send(None), RemoteCall)
    with pytest.raises(Unavailable, match="the server is stopping") as raised:
        steps.throw(DeadlineExceeded("late"))
    assert raised.value is lost


def test_time_that_runs_out_in_the_first_call_is_raised_as_it_is():
    steps = repeat_calls(operation())
    next(steps)
    with pytest.raises(DeadlineExceeded, match="late"):
        steps.throw(DeadlineExceeded("late"))


def full(retry_after):
    error = ResourceExhausted("the requests of this token are as many as may be")
    error.retry_after = retry_after
    return error


def test_a_server_that_says_when_is_asked_again_then_and_not_before():
    steps = repeat_calls(operation())
    next(steps)
    for seconds in (0.5, 7.0, 3.0):
        lost = full(seconds)
        pause = steps.throw(lost)
        assert isinstance(pause, Pause)
        assert pause.seconds >= seconds
        assert pause.error is lost  # which is raised where the operation's time does not suffice
        assert isinstance(steps.send(None), RemoteCall)
    with pytest.raises(StopIteration):
        steps.send(pb.ModelInferResponse())


def test_a_server_that_is_full_and_does_not_say_when_is_not_asked_again():
    steps = repeat_calls(operation())
    next(steps)
    with pytest.raises(ResourceExhausted):
        steps.throw(full(None))
