"""A request of many points is run in parts of its rows: the same bits, in bounded memory."""

import dataclasses

import numpy as np
import pytest

from rnnserve.server.repository.bound_run import LARGE_RUN_OPTIONS, RUN_OPTIONS, BoundRun
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_requests import as_request


def with_most(model, points):
    return dataclasses.replace(model, cost=dataclasses.replace(model.cost, max_points=points))


@pytest.fixture
def runs(monkeypatch):
    """Rows of each run, and whether it gave its memory back."""
    made, run_arrays, run_bound = [], Model.run_arrays, BoundRun.run

    def counted(model, names, feeds, options=RUN_OPTIONS):
        made.append((feeds["input"].shape[0], options is LARGE_RUN_OPTIONS))
        return run_arrays(model, names, feeds, options)

    def counted_bound(run):
        made.append((run._arrays[0].shape[0], run._options is LARGE_RUN_OPTIONS))
        run_bound(run)

    monkeypatch.setattr(Model, "run_arrays", counted)
    monkeypatch.setattr(BoundRun, "run", counted_bound)
    return made


@pytest.mark.parametrize("batch", [7, 24, 25])
def test_parts_give_the_bits_of_the_whole(models, runs, batch):
    for model in models:
        numbers = np.random.default_rng(batch)
        walks = numbers.normal(size=(batch, 9, 2)).astype(np.float32)
        sent = {"input": walks, "lengths": numbers.integers(1, 10, batch)}
        request = as_request(model.signature, sent)
        (whole,) = with_most(model, 1 << 20).run([request])
        runs.clear()
        (parts,) = with_most(model, 8 * 9).run([request])
        assert [rows for rows, _ in runs] == [min(8, batch - at + (batch & 1)) for at in range(0, batch, 8)]
        for name, array in whole.items():
            assert parts[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(("batch", "gives_back"), [(256, False), (258, True)])
def test_a_run_of_many_points_gives_its_memory_back(models, runs, batch, gives_back):
    request = as_request(models[0].signature, {"input": np.zeros((batch, 64, 2), np.float32)})
    (bound,) = models[0].run([request])
    (trimmed,) = dataclasses.replace(models[0], trims_outputs=True).run([request])
    assert runs == 2 * [(batch, gives_back)]
    assert {name: array.tobytes() for name, array in bound.items()} == {
        name: array.tobytes() for name, array in trimmed.items()
    }
