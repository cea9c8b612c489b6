"""Counts start at 0 and grow with each run, failure and dropped request."""

import threading
import time
from typing import Any, cast

from kit.statistics_numbers import numbers
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.counting.table import CountTable


def count(statistics, *, requests, rows, run_seconds, wait_seconds):
    """Count a run that has ended at 100, of requests that have waited as long as each other."""
    arrived = 100.0 - run_seconds - wait_seconds / requests
    statistics.answering(requests)
    statistics.record_run(rows, run_seconds, 5, 1, [arrived] * requests, ended=100.0)


def test_counts_grow_from_nothing_by_each_run_and_failure(monkeypatch):
    statistics = Statistics()
    assert numbers(statistics, "requests", "failures", "dropped", "rows", "runs") == (0,) * 5
    assert numbers(statistics, "run_seconds", "wait_seconds") == (0.0, 0.0)
    assert (statistics.last, statistics.sizes) == (0.0, {})
    monkeypatch.setattr("time.time", lambda: 1234.5)
    count(statistics, requests=3, rows=4, run_seconds=0.5, wait_seconds=0.375)
    statistics.record_run(4, 0.25, 8, 1)  # a chunk of steps
    count(statistics, requests=1, rows=4, run_seconds=1.0, wait_seconds=2.0)
    count(statistics, requests=2, rows=2, run_seconds=0.125, wait_seconds=0.0)
    assert numbers(statistics, "requests", "rows", "runs") == (6, 10, 4)
    assert numbers(statistics, "run_seconds") == 3 * 0.5 + 1.0 + 2 * 0.125  # a run counts for each request in it
    assert (numbers(statistics, "wait_seconds"), statistics.last) == (2.375, 1234.5)
    assert statistics.sizes == {4: (3, 1.75), 2: (1, 0.125)}
    assert numbers(statistics, "failures", "dropped", "failed_seconds") == (0, 0, 0.0)
    statistics.record_failure(0.5)
    statistics.record_failure(0.25)
    statistics.record_dropped(2.0)
    assert numbers(statistics, "failures", "dropped", "failed_seconds") == (2, 1, 2.75)
    assert numbers(statistics, "requests", "runs") == (6, 4)


class Yielding:
    """Numbers of a row. Another thread runs between the reading of one and its writing."""

    def __init__(self, counts):
        self._counts = counts
        self.tolist = counts.tolist

    def __getitem__(self, place):
        value = self._counts[place]
        time.sleep(0)
        return value

    def __setitem__(self, place, value):
        self._counts[place] = value


def test_concurrent_counting_loses_nothing():
    """A reloaded version counts while its predecessor is still running."""
    row = CountTable().row("a", "1")
    models = [Statistics(), Statistics()]
    for statistics in models:
        statistics.count_in(cast(Any, Yielding(row)))
    ready = threading.Barrier(4)

    def run(statistics):
        ready.wait()
        for _ in range(100):
            count(statistics, requests=2, rows=3, run_seconds=0.5, wait_seconds=1.0)
        ready.wait()
        for _ in range(100):
            statistics.record_failure(1.0)

    threads = [threading.Thread(target=run, args=(models[number % 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (row[places.ANSWERED], row[places.ROWS], row[places.FAILED]) == (800, 1200, 400)
    assert sum(row[places.ANSWER_BUCKETS : places.WAIT_BUCKETS]) == 800
    assert (places.runs(row), row[places.RUN_SECONDS]) == (400, 200.0)
    assert sum(number for model in models for number, _ in model.sizes.values()) == 400


def test_reader_waits_briefly_for_answers_in_flight():
    statistics, is_asked, read = Statistics(), threading.Event(), []
    statistics.answering(3)  # they are being sent

    def ask():
        is_asked.set()
        read.append(numbers(statistics, "runs"))

    thread = threading.Thread(target=ask)
    thread.start()
    assert is_asked.wait(10)
    statistics.record_run(3, 0.1, 5, 1, [99.0] * 3, ended=100.0)
    thread.join()
    assert read == [1]
    statistics.answering(3)
    assert numbers(statistics, "requests", "runs") == (6, 1)
