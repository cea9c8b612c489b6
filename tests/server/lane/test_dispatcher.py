"""What waits on the lane: its order, its bounds, what is run together, and what is not run at all."""

import dataclasses
import math
import threading

import grpc
import numpy as np
import pytest
from onnxruntime import InferenceSession

from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.clock import now
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, InvalidRequest, QueueFull, ServeError
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from support.inference_requests import request
from support.loaded import load_repository


def test_a_late_call_does_not_overtake_a_crowd(dispatcher):
    crowd = [asks() for _ in range(290)]
    dispatcher.take(crowd)
    dispatcher.work()
    late = asks()
    dispatcher.take([late])
    while not late.answers:
        dispatcher.work()
    assert all(call.answers for call in crowd)


@pytest.fixture
def held(monkeypatch):
    """Models that stand still in a run until they are told to go on."""
    started, may_go = threading.Event(), threading.Event()
    run = Model.run

    def held_run(self, requests):
        if any(r.sizes.get("sequence") == 77 for r in requests):  # not while loading
            started.set()
            assert may_go.wait(20)
        return run(self, requests)

    monkeypatch.setattr(Model, "run", held_run)
    yield started, may_go
    may_go.set()


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_full_queue_refuses_and_what_waits_is_answered(repository, held, monkeypatch, kind):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.lane.dispatcher._LANE_SECONDS", 0.0)
    settings = Settings(repository, grpc_port=0, provider="cpu", transport=kind, max_queue=8)
    sent = request("direction_simple", {"input": np.zeros((1, 77, 2), np.float32)})
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
        first = infer.future(sent)
        assert started.wait(20)
        calls = [infer.future(sent) for _ in range(20)]
        ended = threading.Semaphore(0)
        for call in calls:
            call.add_done_callback(lambda _: ended.release())
        for _ in range(12):
            assert ended.acquire(timeout=20)
        may_go.set()
        codes = [call.code() for call in calls]
        assert first.code() == grpc.StatusCode.OK
        assert codes.count(grpc.StatusCode.OK) == 8
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 12
        told = [call.details() for call in calls if call.code() != grpc.StatusCode.OK]
        assert all("requests wait already (--max-queue)" in said for said in told)


class FakeCall(LaneCall):
    """A call on the lane, without the lane."""

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


@pytest.fixture
def dispatcher(service, schedulers):
    settings = dataclasses.replace(service.settings, max_queue=300)
    return Dispatcher(Service(service.repository, settings), schedulers)


def asks(name="direction_simple", sequence=3, id="", **more):
    sent = request(name, {"input": np.zeros((1, sequence, 2), np.float32)}, ["logits"], id=id)
    return FakeCall(sent.SerializeToString(), **more)


def test_a_full_queue_of_a_small_model_refuses_at_once(dispatcher):
    calls = [asks(sequence=1 + number % 9) for number in range(310)]
    dispatcher.take(calls)
    assert [type(call.answers[0]) for call in calls[300:]] == [QueueFull] * 10
    assert not any(call.answers for call in calls[:300])
    while dispatcher.work():
        pass
    assert all(len(call.answers) == 1 and isinstance(call.answers[0], bytes) for call in calls[:300])


def test_in_a_full_queue_the_connection_with_most_gives_way(dispatcher):
    flood = [asks(sequence=1 + number % 9) for number in range(300)]
    dispatcher.take(flood)
    polite = [asks(sequence=2, peer="b"), asks(sequence=3, peer="c")]
    for call in polite:
        dispatcher.take([call])
    assert [number for number, call in enumerate(flood) if call.answers] == [298, 299]
    assert all(type(call.answers[0]) is QueueFull for call in flood[298:])
    dispatcher.work()
    assert all(call.answers for call in polite), "each connection has its turn"
    while dispatcher.work():
        pass
    assert all(len(call.answers) == 1 and isinstance(call.answers[0], bytes) for call in (*flood[:298], *polite))


def test_steps_of_sequences_do_not_give_way(dispatcher):
    """The next step of the same sequence would be run without the one that was refused."""
    steps = []
    for number in range(300):
        sent = request("direction_simple", {"input": np.zeros((1, 1 + number % 9, 2), np.float32)}, ["logits"])
        sent.parameters["sequence_id"].int64_param = 1 + number
        sent.parameters["sequence_start"].bool_param = True
        steps.append(FakeCall(sent.SerializeToString()))
    dispatcher.take(steps)
    polite, again = asks(sequence=2, peer="b"), asks(sequence=2, peer="b")
    dispatcher.take([polite])
    dispatcher.take([again])
    assert [type(answer) for answer in again.answers] == [QueueFull]
    assert not any(call.answers for call in steps)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in (*steps, polite))


def test_models_take_turns(dispatcher):
    many = [asks("direction_simple") for _ in range(290)]
    one = asks("direction_stacked")
    dispatcher.take([*many, one])
    assert dispatcher.work()
    assert not one.answers
    assert dispatcher.work()
    assert one.answers
    assert not many[-1].answers
    assert not dispatcher.work()
    assert all(call.answers for call in many)


def test_a_flooding_connection_delays_itself(dispatcher):
    flood = [asks(peer="flood") for _ in range(299)]
    other = asks(peer="other")
    dispatcher.take([*flood, other])
    dispatcher.work()
    dispatcher.take([asks(peer="flood")])
    dispatcher.work()
    assert other.answers


def test_cancelled_and_late_calls_are_not_run(dispatcher, monkeypatch):
    monkeypatch.setattr("rnnserve.server.lane.dispatcher._FEW_SECONDS", 0.0)
    late, gone, there = asks(deadline=now() - 1), asks(), asks()
    dispatcher.take([asks(), late, gone, there])
    gone.on_cancel()
    dispatcher.work()
    assert [type(call.answers[0]) for call in (late, gone)] == [DeadlinePassed, Cancelled]
    assert isinstance(there.answers[0], bytes)


def test_calls_that_will_wait_for_long_are_watched(dispatcher, monkeypatch):
    """After runs of a few milliseconds: a call that is cancelled meanwhile costs no run."""
    soon = [asks(sequence=1 + number % 9) for number in range(40)]
    dispatcher.take(soon)
    assert not any(call.is_watched for call in soon)
    monkeypatch.setattr("rnnserve.server.lane.dispatcher._FEW_SECONDS", 0.0)
    late = [asks(sequence=1 + number % 9) for number in range(40)]
    dispatcher.take(late)
    assert all(call.is_watched for call in late)
    late[7].on_cancel()
    while dispatcher.work():
        pass
    assert [type(call.answers[0]) for call in late] == [Cancelled if call is late[7] else bytes for call in late]


def test_a_request_that_takes_long_does_not_hold_up_the_lane(dispatcher, monkeypatch):
    """It runs on its model's own thread; the others of its model are answered on the lane, before it."""
    first = [asks(), asks(sequence=2)]
    dispatcher.take(first)
    while dispatcher.work():
        pass
    model = dispatcher._admission._service.repository.find("direction_simple").model
    may_go, ended = threading.Event(), threading.Event()
    run = Model.run

    def held(self, requests):
        assert may_go.wait(20)
        return run(self, requests)

    monkeypatch.setattr(Model, "run", held)
    monkeypatch.setattr("rnnserve.server.lane.dispatcher._LANE_SECONDS", model.cost.of(1, 200))
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


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_deadline_that_passes_in_the_queue_costs_no_run(repository, held, monkeypatch, kind):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.lane.dispatcher._LANE_SECONDS", 0.0)
    told, cancel = threading.Semaphore(0), PendingRequest.cancel

    def cancel_and_tell(pending):
        cancel(pending)
        told.release()

    monkeypatch.setattr(PendingRequest, "cancel", cancel_and_tell)
    sent = request("direction_simple", {"input": np.zeros((1, 77, 2), np.float32)})
    with (
        Server(Settings(repository, grpc_port=0, provider="cpu", transport=kind)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
        first = infer.future(sent)
        assert started.wait(20)
        late = infer.future(sent, timeout=0.2)
        gone = infer.future(sent)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gone.cancel()
        assert told.acquire(timeout=20)
        assert told.acquire(timeout=20)
        may_go.set()
        assert first.code() == grpc.StatusCode.OK
        assert infer(sent).outputs
        (model,) = [served.model for served in server._repository.served() if served.model.name == "direction_simple"]
        assert model.statistics.requests == 2
        assert model.statistics.dropped == 2


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
    failures, requests = statistics.failures, statistics.requests
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
    assert (statistics.failures, statistics.requests) == (failures + 1, requests + 3)


def with_cost(service, schedulers, **cost):
    """A dispatcher whose model "direction_simple" has other costs, and that model."""
    models = load_repository(service.settings.repository)
    served = models.find("direction_simple")
    model = dataclasses.replace(served.model, cost=Cost(**cost))
    models.serve(dataclasses.replace(served, model=model))
    return Dispatcher(Service(models, service.settings), schedulers), model


QUICK = {"run": 1e-6, "step": 0.0, "point": 1e-9, "padding": 1e-9}


@pytest.mark.parametrize(("max_points", "runs"), [(24, 1), (23, 2)])
def test_calls_that_run_at_once_are_at_most_max_points(service, schedulers, max_points, runs):
    """8 calls with one prefix, of 3 points each: one run up to the bound, two above it."""
    dispatcher, model = with_cost(service, schedulers, **QUICK, max_points=max_points)
    dispatcher.take([asks()])
    before = model.statistics.runs
    calls = [asks() for _ in range(8)]
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert model.statistics.runs - before == runs
    assert max(model.statistics.sizes) * 3 <= max_points


@pytest.mark.parametrize(("max_points", "largest"), [(24, 8), (23, 7), (3, 1), (1, 1)])
def test_so_are_calls_with_one_prefix_that_have_waited(service, schedulers, max_points, largest):
    """The first of other steps takes the short cut away for its turn; those with one prefix are next."""
    dispatcher, model = with_cost(service, schedulers, **QUICK, max_points=max_points)
    for sequence in (3, 5):
        dispatcher.take([asks(sequence=sequence)])
    model.statistics.sizes.clear()
    calls = [asks(id="x") for _ in range(8)]
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert max(model.statistics.sizes) == largest


def test_a_run_on_the_lane_takes_no_longer_than_the_lane_allows(service, schedulers):
    """Points of 1 ms each, of which 10 ms have room for 9 after the run's own millisecond: three calls of 3."""
    dispatcher, model = with_cost(service, schedulers, run=1e-3, step=0.0, point=1e-3, padding=0.0)
    calls = [asks() for _ in range(8)]
    dispatcher._queues[model] = FairQueue()  # as of a model whose runs are known to be short
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert max(model.statistics.sizes) == 3


def test_what_serves_may_change(service, schedulers):
    """What was kept of a model is dropped when another takes its place."""
    dispatcher, model = with_cost(service, schedulers, **QUICK)
    dispatcher.take([asks()])
    dispatcher.take([asks()])
    models = dispatcher._admission._service.repository
    other = dataclasses.replace(model, version="2", statistics=Statistics())
    models.serve(dataclasses.replace(models.find("direction_simple"), model=other))
    call = asks()
    dispatcher.take([call])
    while dispatcher.work():
        pass
    assert b"\x12\x012" in call.answers[0]  # model_version "2"
    assert (model.statistics.requests, other.statistics.requests) == (2, 1)


def test_what_waits_for_a_model_that_serves_no_more_is_answered_by_it_and_then_it_is_forgotten(service, schedulers):
    dispatcher, model = with_cost(service, schedulers, **QUICK)
    waiting = [asks(sequence=1 + number % 9) for number in range(20)]
    dispatcher.take(waiting)
    assert not any(call.answers for call in waiting)
    models = dispatcher._admission._service.repository
    other = dataclasses.replace(model, version="2", statistics=Statistics())
    models.serve(dataclasses.replace(models.find("direction_simple"), model=other))
    models.leave_out("direction_simple", 1, "a newer version serves")
    dispatcher.take([])  # as when nothing arrives
    assert model in dispatcher._queues
    while dispatcher.work():
        pass
    assert all(b"\x12\x011" in call.answers[0] for call in waiting)  # model_version "1"
    assert model not in dispatcher._queues
