"""Counts outlive the process that adds to them, and are summed. Each refusal has a place of its own."""

import os
import subprocess
import sys

import pytest

from rnnserve.server import errors
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import Totals
from rnnserve.server.counting.table import OTHER, CountTable, count_refusal, use_table, used_table


@pytest.fixture
def table():
    before = used_table()
    made = CountTable()
    use_table(made)
    yield made
    use_table(before)
    made.close()


def test_counts_survive_the_process_that_made_them():
    table = CountTable()
    code = (
        "import os, sys; from rnnserve.server.counting.table import CountTable\n"
        "row = CountTable(int(sys.argv[1])).row('a', '1'); row[0] += 41; row[0] += 1; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(table.descriptor)], pass_fds=[table.descriptor], check=False)
    assert done.returncode == -9
    totals = Totals()
    totals.add(table)
    assert totals.sums()["a", "1"].counts[places.ANSWERED] == 42
    totals.keep(table)
    assert totals.sums()["a", "1"].counts[places.ANSWERED] == 42


def test_ended_process_keeps_its_counters_but_not_its_gauges():
    totals, living, ended = Totals(), CountTable(), CountTable()
    for table in (living, ended):
        totals.add(table)
        row = table.row("a", "1")
        row[places.ROWS], row[places.READY], row[places.QUEUED] = 5, 1, 7
        table.process[places.HELD_BYTES], table.process[places.LOADED] = 100, 1
        table.tell("a", "1", {"graph": "native"})
    totals.keep(ended)
    sums = totals.sums()
    numbers, process = sums["a", "1"].counts, sums["", ""].counts
    assert (numbers[places.ROWS], numbers[places.READY], numbers[places.QUEUED]) == (10, 1, 7)
    assert (process[places.HELD_BYTES], process[places.LOADED]) == (100, 2)
    assert sums["a", "1"].about == {"graph": "native"}
    totals.keep(living)
    assert totals.sums()["a", "1"].about == {}


def test_other_process_reads_each_row_and_its_latest_description():
    table = CountTable()
    reader = CountTable(table.descriptor)
    for number in range(40):
        table.row(f"m{number}", "1")[places.ROWS] = number
        for graph in ("native", f"g{number}"):
            table.tell(f"m{number}", "1", {"graph": graph})
            told = {row.model: (row.counts[places.ROWS], row.about) for row in reader.rows()}
            assert told[f"m{number}"] == (number, {"graph": graph})
    table.tell("never served", "1", {"graph": "native"})
    assert [row.model for row in reader.rows()] == ["", OTHER, *(f"m{number}" for number in range(40))]


def test_models_beyond_the_table_are_counted_together():
    table = CountTable()
    for number in range(2000):
        table.row(f"m{number}", "1")[places.ROWS] += 1
    assert len(table.rows()) == 1024
    assert table.other[places.ROWS] == 2000 - 1022
    assert table.name_of(table.row("m7", "1")) == ("m7", "1")
    assert table.name_of(table.row("m1999", "1")) == (OTHER, "")


def test_count_table_of_another_release_is_refused():
    for size in (100, 1 << 24):
        fd = os.memfd_create("other")
        os.ftruncate(fd, size)
        with pytest.raises(ValueError):
            CountTable(fd)
        os.close(fd)


def kinds(kind=errors.ServeError):
    return [each for sub in kind.__subclasses__() for each in (sub, *kinds(sub))]


def test_each_refusal_is_counted_once_by_status_and_reason(table):
    own = [kind for kind in kinds() if kind.__module__ == errors.__name__]
    assert len(own) == len(places.REFUSALS), "an error has no place of its own"
    for kind in kinds():
        error = kind.__new__(kind)
        place = places.refusal_place(error)
        before = table.other[place]
        count_refusal(error)
        assert table.other[place] == before + 1
        assert places.REFUSALS[place - places.REFUSED][0] == kind.status
    assert sum(table.other[places.REFUSED : places.PLACES]) == len(kinds())
    assert sum(table.other[places.HTTP_REFUSED : places.PLACES]) == 0
    count_refusal(errors.QueueFull("no", 1), is_http=True)
    assert sum(table.other[places.HTTP_REFUSED : places.PLACES]) == 1
    assert places.refusals(table.other)[places.REFUSALS.index(("RESOURCE_EXHAUSTED", "queue_full"))] >= 2
    assert ("RESOURCE_EXHAUSTED", "queue_full") in places.REFUSALS


def test_each_request_is_in_one_bucket_of_each_histogram(table):
    statistics = Statistics()
    statistics.count_in(table.row("a", "1"))
    arrivals = [100.0, 100.0, 99.0, 100.0, 80.0]
    statistics.record_run(300, 0.5, 600, 0, arrivals, ended=101.0)
    numbers = statistics.counts.tolist()

    def buckets(first, bounds):
        edges = [*bounds, float("inf")]
        return {edge: number for edge, number in zip(edges, numbers[first:], strict=False) if number}

    inf = float("inf")
    assert buckets(places.ANSWER_BUCKETS, places.SECONDS_BOUNDS) == {1: 3, 2: 1, inf: 1}
    assert buckets(places.WAIT_BUCKETS, places.SECONDS_BOUNDS) == {0.5: 3, 2: 1, inf: 1}
    assert buckets(places.RUN_BUCKETS, places.SECONDS_BOUNDS) == {0.5: 1}
    assert buckets(places.ROW_BUCKETS, places.ROW_BOUNDS) == {inf: 1}
    assert [places.ROW_BUCKET[rows] - places.ROW_BUCKETS for rows in (1, 2, 3, 4, 5, 256)] == [0, 1, 2, 2, 3, 8]
