"""The counts of all workers are summed, whichever of them a client asks; one that does not answer keeps no client."""

import pytest

from rnnserve.server.workers import worker_statistics as counting
from rnnserve.server.workers.messages import Count, Counts
from rnnserve.server.workers.worker_statistics import CountCollector


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
