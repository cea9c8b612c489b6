"""A request that is no good, or a run that fails, costs no other request its answer."""

import numpy as np
from onnxruntime import InferenceSession

from kit.fast_paths import FakeCall, asks
from kit.inference_requests import request
from kit.statistics_numbers import numbers
from rnnserve.server.clock import now
from rnnserve.server.errors import DeadlinePassed, InternalError, InvalidRequest


def test_one_that_is_not_finite_spoils_nothing_for_the_others(dispatcher):
    dispatcher.take([asks(), asks(sequence=5)])
    dispatcher.work()
    bad = request("direction_simple", {"input": np.full((1, 3, 2), np.nan, np.float32)}, ["logits"])
    calls = [asks(), FakeCall(bad.SerializeToString()), asks(sequence=5)]
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert [type(call.answers[0]) for call in calls] == [bytes, InvalidRequest, bytes]


def test_nor_for_those_with_the_same_prefix(dispatcher):
    dispatcher.take([asks()])
    dispatcher.work()
    bad = request("direction_simple", {"input": np.full((1, 3, 2), np.inf, np.float32)}, ["logits"]).SerializeToString()
    calls = [asks(), FakeCall(bad), asks(), asks(deadline=now() - 1)]
    for some in (calls[:3], [*calls[3:], asks(), asks()]):  # one is not finite; one came too late
        dispatcher.take(some)
        while dispatcher.work():
            pass
        assert all(len(call.answers) == 1 for call in some)
    assert [type(call.answers[0]) for call in calls] == [bytes, InvalidRequest, bytes, DeadlinePassed]


def test_a_run_that_fails_answers_all_and_the_next_one_runs(dispatcher, monkeypatch):
    dispatcher.take([asks(), asks(sequence=5)])
    dispatcher.work()
    calls = [asks(), asks(sequence=5)]
    with monkeypatch.context() as patched:
        patched.setattr(InferenceSession, "run", lambda *_: 1 / 0)
        patched.setattr(InferenceSession, "run_with_iobinding", lambda *_: 1 / 0)
        dispatcher.take(calls)
        while dispatcher.work():
            pass
    assert [type(call.answers[0]) for call in calls] == [InternalError] * 2
    after = [asks(), asks(sequence=5)]
    dispatcher.take(after)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in after)


def test_a_lone_run_that_fails_is_answered_and_counted(service, dispatcher, monkeypatch):
    statistics = service.repository.find("direction_simple").model.statistics
    failures, requests = numbers(statistics, "failures", "requests")
    dispatcher.take([asks()])
    dispatcher.work()
    dispatcher.take([asks()])
    failed, after = asks(), asks()
    with monkeypatch.context() as patched:
        patched.setattr(InferenceSession, "run", lambda *_: 1 / 0)
        patched.setattr(InferenceSession, "run_with_iobinding", lambda *_: 1 / 0)
        dispatcher.take([failed])
    assert [type(answer) for answer in failed.answers] == [InternalError]
    dispatcher.take([after])
    assert isinstance(after.answers[0], bytes)
    assert numbers(statistics, "failures", "requests") == (failures + 1, requests + 3)
