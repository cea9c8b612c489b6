"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import dataclasses
import threading
import time
from typing import Any

import pytest

from kit.bad_versions import BAD_FILES, BAD_GRAPHS, publish_good
from kit.fake_trials import FOUND, FakeTrials
from rnnserve.protos import model_config_pb2
from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.load_order import Candidate
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trial_process import Refused, Stopped, TooSlow, Trial
from rnnserve.server.repository.trials import Trials

PATIENCE = 30.0


class Together(FakeTrials):
    """Trials that end when as many have begun at the same time, the first time in each process."""

    def __init__(self, processes):
        super().__init__()
        self._begun = threading.Barrier(processes)

    def outcome(self, version, seconds, *, is_small):
        if any(process.tried == [version] for process in self.made):
            self._begun.wait(PATIENCE)
        return super().outcome(version, seconds, is_small=is_small)


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
def test_they_try_at_the_same_time(tmp_path):
    trials = Together(3)
    load, models = make(tmp_path, *names(24), trials=trials, processes=3)
    load.load()
    assert models.is_ready()


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


@pytest.mark.usefixtures("fake_loading")
def test_where_no_further_process_starts_one_tries_all(tmp_path, caplog):
    class Lonely(FakeTrials):
        def _new_process(self):
            if self.made:
                raise StartError("cannot start a process")
            return super()._new_process()

    trials = Lonely()
    load, models = make(tmp_path, *names(16), trials=trials, processes=2)
    load.load()
    assert models.is_ready()
    assert "versions are tried by fewer processes: cannot start a process" in caplog.messages


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize("still", ["m00", "m19"])
def test_each_model_is_told_of_as_soon_as_it_serves(tmp_path, still):
    """One of twenty stands still in its trial: the others are ready, but for one that may have passed."""
    go = threading.Event()

    class Waiting(FakeTrials):
        def outcome(self, version, seconds, *, is_small):
            if version == f"{still}/1":
                assert go.wait(PATIENCE)
            return super().outcome(version, seconds, is_small=is_small)

    load, models = make(tmp_path, *names(20), trials=Waiting(), processes=2)
    thread = threading.Thread(target=load.load)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while len(models.served()) < 18 and time.monotonic() < deadline:
        time.sleep(0.01)
    states = {name: versions[1].state for name, versions in models.statuses()}
    assert list(states.values()).count(READY) >= 18
    assert states[still] == LOADING
    assert (models.is_served("m10"), models.is_served(still), models.is_ready()) == (True, False, False)
    go.set()
    thread.join(PATIENCE)
    assert models.is_ready()


def test_bad_versions_among_many_good_ones(tmp_path):
    """With real processes: each good one serves, each bad one has the same reason as where one process tries all."""
    good = [f"good_{number:02}" for number in range(20)]
    for name in good:
        publish_good(tmp_path, name)
    bad = {name: BAD_FILES[name] for name in sorted(BAD_FILES)[:4]} | {"aborting": BAD_GRAPHS["aborting"]}
    for name, (plant, _) in bad.items():
        plant(tmp_path, name)
    said = []
    for processes in (3, 1):
        models = Repository(tmp_path)
        Loader(models, Trials(), "cpu", allow_unproven=False, timeout=60.0, processes=processes).load()
        assert sorted(served.model.name for served in models.served()) == good
        said.append({name: versions for name, versions in models.statuses() if name not in good})
    assert said[0].keys() == bad.keys()
    assert said[0] == said[1]


def candidate(name):
    return Candidate(name, 1, model_config_pb2.ModelConfig(name=name), 1, 60.0)


def endless(root, name):
    if not (root / name).exists():
        BAD_GRAPHS["endless"][0](root, name)
    may_take: dict[str, Any] = {"max_bytes": 512 << 20, "seconds": 60.0, "processor_seconds": 60.0}
    return Trial(root / name / "1", name, "1", "cpu", "auto", allow_unproven=False, threads=1, **may_take)


def test_stop_ends_all_processes(tmp_path):
    trials = Trials()
    for name in ("a", "b"):
        trials.begin(candidate(name), endless(tmp_path, name))
    assert (trials.take(wait=False), trials.running) == ([], 2)
    threading.Timer(0.5, trials.stop).start()
    outcomes = {version.name: outcome for version, outcome in [*trials.take(), *trials.take()]}
    assert sorted(outcomes) == ["a", "b"]
    assert all(isinstance(outcome, Stopped) for outcome in outcomes.values())
    trials.begin(candidate("a"), endless(tmp_path, "a"))
    assert isinstance(trials.take()[0][1], Stopped)
    trials.close()
    with pytest.raises(Stopped):
        trials.begin(candidate("a"), endless(tmp_path, "a"))


def test_close_ends_what_runs_and_further_trials_start_anew(tmp_path):
    publish_good(tmp_path, "good")
    good = dataclasses.replace(endless(tmp_path, "a"), folder=tmp_path / "good" / "1", name="good")
    trials = Trials()
    trials.begin(candidate("a"), endless(tmp_path, "a"))
    trials.close()
    assert (trials.running, trials.take()) == (0, [])
    trials.give_way()
    trials.begin(candidate("good"), good)
    ((version, outcome),) = trials.take()
    assert (version.name, isinstance(outcome, Findings)) == ("good", True)
    trials.close()


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_where_no_further_thread_starts_all_are_tried(tmp_path, monkeypatch, caplog, threads):
    left, start = [None] * threads, threading.Thread.start

    def refuse(thread):
        if thread.name != "trial":
            return start(thread)
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        return start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    load, models = make(tmp_path, *names(40), trials=FakeTrials(), processes=4)
    load.load()
    assert models.is_ready()
    said = "versions are tried by fewer processes: cannot start a thread that waits for a trial"
    assert said in caplog.messages


@pytest.mark.usefixtures("fake_loading")
def test_one_process_needs_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    load, models = make(tmp_path, *names(15), trials=FakeTrials(), processes=4)
    load.load()
    assert models.is_ready()
