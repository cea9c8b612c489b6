"""Order, turns and bounds of what waits on the lane."""

import threading

import grpc
import numpy as np
import pytest

from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.app import Server, Settings
from rnnserve.server.lines import Line
from rnnserve.server.model import Model
from rnnserve.server.running import Work
from support.asking import request


def test_without_a_crowd_it_is_first_come_first_served():
    line: Line[int] = Line()
    for number in range(5):
        line.add(number)
    assert line.take(3) == [0, 1, 2]
    assert len(line) == 2
    assert line.take(9) == [3, 4]
    assert not line


def test_in_a_crowd_connections_take_turns():
    line: Line[str] = Line()
    line.add("before")
    for number in range(100):
        line.add_to_crowd(f"flood {number}", "a")
    line.add_to_crowd("one of few 0", "b")
    line.add_to_crowd("one of few 1", "b")
    line.add_to_crowd("another 0", "c")
    assert len(line) == 104
    assert line.take(7) == ["before", "flood 0", "one of few 0", "another 0", "flood 1", "one of few 1", "flood 2"]
    assert line.take(1000) == [f"flood {number}" for number in range(3, 100)]
    assert len(line) == 0
    assert line.take(1) == []


@pytest.fixture
def held(monkeypatch):
    """Models that stand still in a run until they are told to go on."""
    started, may_go = threading.Event(), threading.Event()
    run = Model.run

    def held_run(self, requests):
        if any(r.sequence == 77 for r in requests):  # not while loading
            started.set()
            assert may_go.wait(20)
        return run(self, requests)

    monkeypatch.setattr(Model, "run", held_run)
    yield started, may_go
    may_go.set()


@pytest.mark.parametrize("kind", ["lane", "public"])
@pytest.mark.parametrize("small", [True, False])
def test_a_full_line_refuses_and_what_waits_is_answered(repository, held, monkeypatch, kind, small):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.dispatch._SMALL", 1e9 if small else 0.0)
    settings = Settings(repository, grpc_port=0, provider="cpu", transport=kind, max_queue=8)
    sent = request("direction_simple", {"input": np.zeros((1, 77, 2), np.float32)})
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
        first = infer.future(sent)
        assert started.wait(20)
        calls = [infer.future(sent) for _ in range(20)]
        if not (kind == "lane" and small):  # there the lane itself stands still, and refuses once it goes on
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
        assert all(
            "requests wait already (--max-queue)" in c.details() for c in calls if c.code() != grpc.StatusCode.OK
        )


@pytest.mark.parametrize("kind", ["lane", "public"])
def test_a_deadline_that_passes_in_the_queue_costs_no_run(repository, held, monkeypatch, kind):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.dispatch._SMALL", 0.0)
    told, cancel = threading.Semaphore(0), Work.cancel

    def cancel_and_tell(work):
        cancel(work)
        told.release()

    monkeypatch.setattr(Work, "cancel", cancel_and_tell)
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
