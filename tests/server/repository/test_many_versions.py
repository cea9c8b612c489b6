"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import dataclasses
import time

import pytest

from kit.fake_trials import FOUND, FakeTrials
from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trial_process import Refused, TooSlow


def make(root, *versions, trials, processes, timeout=60.0):
    for version in versions:
        (root / version).mkdir(parents=True)
    models = Repository(root)
    return Loader(models, trials, "cpu", allow_unproven=False, timeout=timeout, processes=processes), models


def names(count):
    return [f"m{number:02}/1" for number in range(count)]


def begun(trials):
    return sorted(version for version, _ in trials.begun)


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize(
    ("count", "processes", "further"), [(15, 4, 0), (16, 4, 1), (24, 4, 2), (40, 4, 3), (40, 1, 0)]
)
def test_as_many_processes_as_there_are_cores_and_work_for(tmp_path, count, processes, further):
    trials = FakeTrials()
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


SMALL_RUNS = dataclasses.replace(FOUND, cost=dataclasses.replace(FOUND.cost, max_points=1024))
"""What is found of a version whose large runs take more memory than it may have."""


class Little(FakeTrials):
    """No version passes with little memory as it should; says which had little, and which all there is for one."""

    def __init__(self, outcome: Exception | Findings):
        super().__init__()
        self._early = outcome
        self.small, self.all = [], []
        self._now_all = self.most_all = 0

    def outcome(self, version, seconds, *, is_small):
        (self.small if is_small else self.all).append(version)
        if is_small and isinstance(self._early, Exception):
            raise self._early
        if is_small:
            return self._early
        self._now_all += 1
        self.most_all = max(self.most_all, self._now_all)
        time.sleep(0.01)
        self._now_all -= 1
        return super().outcome(version, seconds, is_small=is_small)


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize("outcome", [Refused("needs more memory"), TooSlow(), StartError("cannot start"), SMALL_RUNS])
def test_what_does_not_pass_with_little_memory_has_its_turn_again_with_all(tmp_path, outcome):
    trials = Little(outcome)
    trials.give("m15/1", Refused("golden.npz: no good"))
    load, models = make(tmp_path, *names(16), trials=trials, processes=2)
    load.load()
    assert trials.small
    assert len(models.served()) == 16 - 1
    assert dict(models.statuses())["m15"][1] == Status(UNAVAILABLE, "golden.npz: no good")
    assert load.faults == ["m15 version 1: golden.npz: no good"]
    assert sorted(trials.all) == names(16)  # once each
    assert sorted(trials.small) == sorted(set(trials.small))  # and before that once at most
    assert trials.most_all == 1  # never two at the same time
