"""What runs on two graphs cost: at which sizes, by turns, how often, and which of the runs count."""

import dataclasses

import numpy as np
import pytest

from rnnserve.protos.golden import Case
from rnnserve.server.boundary.signature import Batching
from rnnserve.server.repository.graph_measurement import measure_graphs
from rnnserve.server.repository.trial_requests import TrialRequests
from support.checked_requests import signature

SIGNATURE = signature()
SIZES = ["2x1", "2x8", "2x64", "32x1", "32x8", "32x64"]


class Clock:
    """Time that passes in runs only."""

    def __init__(self):
        self.now, self.ran = 1000.0, []


class Graph:
    """Takes `cost` seconds a run and `each` a point, and in its first two rounds twice as much."""

    def __init__(self, name, clock, cost, each, batching=Batching.PADDED, limits=None):
        inputs = dict(SIGNATURE.inputs)
        if limits is not None:
            inputs["sequence input"] = dataclasses.replace(inputs["sequence input"], limits=limits)
        self.signature = dataclasses.replace(SIGNATURE, inputs=inputs, batching=batching)
        self.name, self.clock, self.cost, self.each = name, clock, cost, each

    def run_arrays(self, names, feeds):
        assert names == list(SIGNATURE.outputs)
        rows, steps, _ = feeds["sequence input"].shape
        lengths = feeds["sequence lengths"]
        assert len(lengths) == rows
        count = sum((name, size) == (self.name, (rows, steps)) for name, size, _ in self.clock.ran)
        self.clock.ran.append((self.name, (rows, steps), lengths))
        self.clock.now += (self.cost + rows * steps * self.each) * (2 if count < 2 else 1)
        return []


def measured(monkeypatch, graphs, clock, *sizes):
    cases = [
        Case("step", {"sequence input": np.ones((1, size, 2), np.float32), "sequence lengths": np.ones(1, int)}, {}, {})
        for size in sizes
    ]
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return measure_graphs(graphs, TrialRequests(next(iter(graphs.values())).signature, cases))


def test_the_shortest_run_counts_of_each_size_and_graph(monkeypatch):
    clock = Clock()
    graphs = {"native": Graph("native", clock, 5e-6, 1e-6), "scan": Graph("scan", clock, 10e-6, 0.5e-6)}
    found = measured(monkeypatch, graphs, clock, 1, 64)
    assert list(found) == ["native", "scan"]
    steps = [next(size for _, size, _ in clock.ran[at::12]) for at in (6, 8, 10)]  # of those of 32 rows
    points = [2, 16, 128, *(32 * step for _, step in steps)]
    assert found["native"] == dict(zip(SIZES, [round(5 + 1.0 * each, 1) for each in points], strict=True))
    assert found["scan"] == dict(zip(SIZES, [round(10 + 0.5 * each, 1) for each in points], strict=True))


def test_graphs_take_turns_and_small_models_have_nine_rounds(monkeypatch):
    clock = Clock()
    graphs = {name: Graph(name, clock, 1e-6, 0) for name in ("native", "scan")}
    measured(monkeypatch, graphs, clock, 1, 64)
    assert len(clock.ran) == 9 * 2 * 6
    for native, scan in zip(clock.ran[::2], clock.ran[1::2], strict=True):
        assert (native[0], scan[0]) == ("native", "scan")
        assert native[1] == scan[1]
        np.testing.assert_array_equal(native[2], scan[2])


def test_large_models_have_three_rounds(monkeypatch):
    clock = Clock()
    graphs = {name: Graph(name, clock, 1.0, 0) for name in ("native", "scan")}
    measured(monkeypatch, graphs, clock, 1, 64)
    assert len(clock.ran) == 3 * 2 * 6


def test_rows_of_a_batch_end_at_any_step_where_they_may_be_padded(monkeypatch):
    for batching, is_ragged in ((Batching.PADDED, True), (Batching.JOINED, False)):
        clock = Clock()
        graphs = {name: Graph(name, clock, 1.0, 0, batching) for name in ("native", "scan")}
        measured(monkeypatch, graphs, clock, 1, 64)
        few, many = clock.ran[4][2], clock.ran[10][2]
        assert (len(few), len(many)) == (2, 32)
        assert set(few.tolist()) == {64}
        assert (len(set(many.tolist())) > 5) is is_ragged


@pytest.mark.parametrize(
    ("sizes", "limits", "found"),
    [
        ((1,), None, ["2x1", "32x1"]),
        ((5, 9), None, ["2x5", "2x8", "2x9", "32x5", "32x8", "32x9"]),
        ((1, 64), {"batch": (1, 3)}, ["2x1", "2x8", "2x64", "3x1", "3x8", "3x64"]),
    ],
)
def test_sizes_are_such_as_the_model_takes(monkeypatch, sizes, limits, found):
    clock = Clock()
    batching = Batching.ALONE if limits else Batching.PADDED
    graphs = {name: Graph(name, clock, 1.0, 0, batching, limits) for name in ("native", "scan")}
    assert list(measured(monkeypatch, graphs, clock, *sizes)["scan"]) == found
