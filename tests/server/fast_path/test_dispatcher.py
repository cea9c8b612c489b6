"""What waits on the fast path: its order, and what is not run at all."""

import threading

import grpc
import numpy as np

from kit.fast_paths import asks
from kit.inference_requests import request
from kit.served import served
from kit.statistics_numbers import numbers
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.clock import now
from rnnserve.server.errors import Cancelled, DeadlinePassed
from rnnserve.server.repository.model import Model


def test_a_late_call_does_not_overtake_a_crowd(dispatcher):
    crowd = [asks(peer=str(number % 9)) for number in range(290)]
    dispatcher.take(crowd)
    dispatcher.work()
    late = asks()
    dispatcher.take([late])
    while not late.answers:
        dispatcher.work()
    assert all(call.answers for call in crowd)


def test_models_take_turns(dispatcher):
    many = [asks("direction_simple", peer=str(number % 9)) for number in range(290)]
    one = asks("direction_stacked")
    dispatcher.take([*many, one])
    assert dispatcher.work()
    assert not one.answers
    assert dispatcher.work()
    assert one.answers
    assert not many[-1].answers
    assert not dispatcher.work()
    assert all(call.answers for call in many)


def test_cancelled_and_late_calls_are_not_run(dispatcher, monkeypatch):
    monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._FEW_SECONDS", 0.0)
    late, gone, there = asks(deadline=now() - 1), asks(), asks()
    dispatcher.take([asks(), late, gone, there])
    gone.on_cancel()
    dispatcher.work()
    assert [type(call.answers[0]) for call in (late, gone)] == [DeadlinePassed, Cancelled]
    assert isinstance(there.answers[0], bytes)


def test_a_request_that_takes_long_does_not_hold_up_the_fast_path(dispatcher, monkeypatch):
    """It runs on its model's own thread. The others of its model are answered on the fast path, before it."""
    first = [asks(), asks(sequence=2)]
    dispatcher.take(first)
    while dispatcher.work():
        pass
    model = dispatcher._admission._service.repository.find("direction_simple").model
    may_go, ended = threading.Event(), threading.Event()
    run = Model.run_arrays

    def held(*args):
        assert may_go.wait(20)
        return run(*args)

    monkeypatch.setattr(Model, "run_arrays", held)
    monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._SHORT_SECONDS", model.cost.of(1, 200))
    large, small = asks(sequence=300), asks(sequence=2)
    large.answer = lambda payload: (large.answers.append(payload), ended.set())
    dispatcher.take([large, small])
    while dispatcher.work():
        pass
    assert large.is_watched
    assert isinstance(small.answers[0], bytes)
    assert not large.answers
    may_go.set()
    assert ended.wait(20)
    assert isinstance(large.answers[0], bytes)


def test_request_whose_deadline_passes_in_the_queue_costs_no_run(repository, held, monkeypatch):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._SHORT_SECONDS", 0.0)
    told, cancel = threading.Semaphore(0), PendingRequest.cancel

    def cancel_and_tell(pending):
        cancel(pending)
        told.release()

    monkeypatch.setattr(PendingRequest, "cancel", cancel_and_tell)
    sent = request("direction_simple", {"input": np.zeros((1, 77, 2), np.float32)})
    with served(repository) as running:
        infer = running.stub.ModelInfer
        first = infer.future(sent)
        assert started.acquire(timeout=20)
        late = infer.future(sent, timeout=1.0)  # as long as it may take to come into the queue
        gone = infer.future(sent)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gone.cancel()
        assert told.acquire(timeout=20)
        assert told.acquire(timeout=20)
        may_go.set()
        assert first.code() == grpc.StatusCode.OK
        assert infer(sent).outputs
        model = running.server._repository.find("direction_simple").model
        assert numbers(model.statistics, "requests", "dropped") == (2, 2)
