"""The counts of all workers are summed, whichever of them a client asks; one that does not answer keeps no client."""

import threading
from concurrent import futures

import numpy as np
import pytest

from kit.inference_requests import request
from kit.waiting import until
from kit.workers import new_channel, serving
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.workers import worker_statistics as counting
from rnnserve.server.workers.messages import Count, Counts, Sum
from rnnserve.server.workers.worker_statistics import CountCollector, WorkerCounts

PATIENCE = 20.0


class FakeWorker:
    """A worker's place, which keeps what it is told."""

    def __init__(self, number):
        self.number, self.pid, self.is_ready, self.told = number, 100 + number, True, []

    def tell(self, message):
        self.told.append(message)


@pytest.fixture
def workers():
    return [FakeWorker(number) for number in range(3)]


@pytest.fixture
def collector(workers):
    return CountCollector(workers)


def test_a_worker_is_told_what_all_others_have_counted(collector, workers):
    asker, one, two = workers
    collector.ask(asker, 7)
    assert (asker.told, one.told, two.told) == ([], [Count(1)], [Count(1)])
    collector.add(one, 1, b"one")
    collector.add(one, 1, b"one")  # a second time does not count
    assert not asker.told
    collector.add(two, 1, b"two")
    assert asker.told == [Counts(7, (b"one", b"two"))]


def test_one_that_has_died_or_takes_long_is_not_waited_for(collector, workers, monkeypatch, caplog):
    asker, one, two = workers
    collector.ask(asker, 1)
    collector.add(one, 1, b"one")
    two.is_ready = False
    collector.answer()
    assert asker.told == [Counts(1, (b"one",))]
    assert not caplog.messages
    two.is_ready = True
    monkeypatch.setattr(counting, "_COLLECT_SECONDS", 0.0)
    collector.ask(asker, 2)
    assert asker.told[1:] == [Counts(2, ())]
    assert caplog.messages == ["workers do not say what they have counted: [1, 2]"]


def test_the_next_process_in_the_askers_place_is_told_nothing(collector, workers):
    asker, one, two = workers
    collector.ask(asker, 1)
    asker.pid += 1
    collector.add(one, 1, b"one")
    collector.add(two, 1, b"two")
    assert not asker.told


def test_calls_share_an_answer_whose_question_came_after_them():
    said = []
    counts = WorkerCounts(said.append)
    with futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(counts.of_others)
        until(lambda: said == [Sum(1)])
        later = [pool.submit(counts.of_others) for _ in range(7)]
        until(lambda: len(counts._changed._waiters) == 8)  # type: ignore[attr-defined]
        counts.take(Counts(1, (b"one",)))
        assert first.result(PATIENCE) == (b"one",)
        until(lambda: said == [Sum(1), Sum(2)])
        counts.take(Counts(1, (b"one",)))  # late: not for them
        counts.take(Counts(2, (b"one", b"two")))
        assert [one.result(PATIENCE) for one in later] == 7 * [(b"one", b"two")]


def test_a_worker_answers_without_its_supervisor(monkeypatch, caplog):
    monkeypatch.setattr(counting, "_ASK_SECONDS", 0.05)
    counts = WorkerCounts(lambda _: None)
    assert counts.of_others() == ()
    assert caplog.messages == ["the supervisor does not say what the other workers have counted"]
    asking = threading.Thread(target=counts.of_others)
    asking.start()
    asking.join(PATIENCE)
    assert not asking.is_alive()


def statistics(port):
    with new_channel(port) as channel:
        asked = pb.ModelStatisticsRequest(name="direction_simple")
        (model,) = rpc.GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=PATIENCE).model_stats
        return model


def test_any_of_the_workers_tells_the_counts_of_all(repository, tmp_path):
    sent = request("direction_simple", {"input": np.zeros((2, 4, 2), np.float32)}, ["logits"])
    with serving(repository, tmp_path, "--workers", "2") as server:
        for _ in range(24):
            with new_channel(server.port) as channel:
                rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent, timeout=PATIENCE)
        for _ in range(12):
            model = statistics(server.port)
            assert model.inference_count == 48
            assert model.execution_count == model.inference_stats.success.count == 24
            assert [(batch.batch_size, batch.compute_infer.count) for batch in model.batch_stats] == [(2, 24)]
    assert "Traceback" not in server.log
