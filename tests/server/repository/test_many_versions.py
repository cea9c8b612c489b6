"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import time

import pytest

from kit.fake_trials import FakeTrials
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import Repository


def make(root, *versions, trials, processes, timeout=60.0):
    for version in versions:
        (root / version).mkdir(parents=True)
    models = Repository(root)
    return Loader(models, trials, "cpu", allow_unproven=False, timeout=timeout, processes=processes), models


class SomeTime(FakeTrials):
    def outcome(self, version):
        time.sleep(0.005)  # so that the checks of as many as may be run at the same time
        return super().outcome(version)


def names(count):
    return [f"m{number:02}/1" for number in range(count)]


def begun(trials):
    return sorted(trials.begun)


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize(
    ("count", "processes", "further"), [(15, 4, 0), (16, 4, 1), (24, 4, 2), (40, 4, 3), (40, 1, 0)]
)
def test_as_many_processes_as_there_are_cores_and_work_for(tmp_path, count, processes, further):
    trials = SomeTime()
    load, models = make(tmp_path, *names(count), trials=trials, processes=processes)
    load.load()
    assert models.is_ready()
    assert len(trials.made) == 1 + further
    assert begun(trials) == names(count)  # each is tried once
    assert all(process.is_closed for process in trials.made)


@pytest.mark.usefixtures("fake_loading")
def test_no_two_versions_of_a_model_are_tried_at_the_same_time(tmp_path):
    trials = FakeTrials()
    versions = [f"m{number:02}/{version}" for number in range(16) for version in (1, 2)]
    trials.refuse("m03/2")
    load, models = make(tmp_path, *versions, trials=trials, processes=4)
    load.load()
    assert {v for v in begun(trials) if v.endswith("/1")} == {"m03/1"}
    assert {name: models.versions(name) for name in models.models()} == {
        f"m{number:02}": ["1" if number == 3 else "2"] for number in range(16)
    }
