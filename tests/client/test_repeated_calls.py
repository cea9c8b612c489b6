"""Which error ends an operation whose calls are sent again."""

import pytest

from rnnserve.client.errors import DeadlineExceeded, Unavailable
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
