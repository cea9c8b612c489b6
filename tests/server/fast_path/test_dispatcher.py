"""Pending requests on the fast path: their order, the size of a run, and the calls that are refused or fail."""

import dataclasses
import threading

import grpc
import numpy as np
import pytest
from onnxruntime import InferenceSession

from kit.fast_paths import FakeCall, asks
from kit.inference_requests import request
from kit.loaded import load_repository
from kit.served import served
from kit.statistics_numbers import numbers
from rnnserve.server.batching.execution import Cost, PendingRequest
from rnnserve.server.clock import now
from rnnserve.server.errors import DeadlinePassed, InternalError, InvalidRequest
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import READY, Status

QUICK = {"run": 1e-6, "step": 0.0, "point": 1e-9, "padding": 1e-9}


def work_until_done(dispatcher, calls=()):
    """Hand calls on, and run all that waits."""
    dispatcher.take(list(calls))
    while dispatcher.work():
        pass


def with_cost(service, schedulers, **cost):
    """A dispatcher whose model "direction_simple" has other costs, and that model."""
    models = load_repository(service.settings.repository)
    served = models.find("direction_simple")
    model = dataclasses.replace(served.model, cost=Cost(**cost))
    let_serve(models, dataclasses.replace(served, model=model))
    return Dispatcher(Service(models, service.settings), schedulers), model


def let_serve(models, version):
    entry = models.entry(version.model.name).with_version(int(version.model.version), Status(READY), version)
    models.put(version.model.name, entry)


def test_later_call_does_not_overtake_earlier_ones(dispatcher):
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


def test_long_request_does_not_block_the_fast_path(dispatcher, monkeypatch):
    """It runs on its model's own thread. The others of its model are answered on the fast path, before it."""
    first = [asks(), asks(sequence=2)]
    work_until_done(dispatcher, first)
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
    work_until_done(dispatcher, [large, small])
    assert large.is_watched
    assert isinstance(small.answers[0], bytes)
    assert not large.answers
    may_go.set()
    assert ended.wait(20)
    assert isinstance(large.answers[0], bytes)


def test_request_that_expires_in_the_queue_is_not_run(repository, held, monkeypatch):
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


@pytest.mark.parametrize(("max_points", "runs"), [(24, 1), (23, 2)])
def test_template_run_stays_within_max_points(service, schedulers, max_points, runs):
    """8 calls with one prefix, of 3 points each: one run up to the bound, two above it."""
    dispatcher, model = with_cost(service, schedulers, **QUICK, max_points=max_points)
    dispatcher.take([asks()])
    before = numbers(model.statistics, "runs")
    calls = [asks() for _ in range(8)]
    work_until_done(dispatcher, calls)
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert numbers(model.statistics, "runs") - before == runs
    assert max(model.statistics.sizes) * 3 <= max_points


def test_non_finite_request_does_not_affect_others_of_its_template(dispatcher):
    dispatcher.take([asks()])
    dispatcher.work()
    bad = request("direction_simple", {"input": np.full((1, 3, 2), np.inf, np.float32)}, ["logits"]).SerializeToString()
    calls = [asks(), FakeCall(bad), asks(), asks(deadline=now() - 1)]
    for some in (calls[:3], [*calls[3:], asks(), asks()]):  # one is not finite; one came too late
        work_until_done(dispatcher, some)
        assert all(len(call.answers) == 1 for call in some)
    assert [type(call.answers[0]) for call in calls] == [bytes, InvalidRequest, bytes, DeadlinePassed]


def test_failed_run_answers_every_call_and_the_next_run_works(dispatcher, monkeypatch):
    dispatcher.take([asks(), asks(sequence=5)])
    dispatcher.work()
    calls = [asks(), asks(sequence=5)]
    with monkeypatch.context() as patched:
        patched.setattr(InferenceSession, "run", lambda *_: 1 / 0)
        patched.setattr(InferenceSession, "run_with_iobinding", lambda *_: 1 / 0)
        work_until_done(dispatcher, calls)
    assert [type(call.answers[0]) for call in calls] == [InternalError] * 2
    after = [asks(), asks(sequence=5)]
    work_until_done(dispatcher, after)
    assert all(isinstance(call.answers[0], bytes) for call in after)
