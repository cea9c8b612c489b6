"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import threading
import time

import pytest

from rnnserve.server.errors import StartError
from rnnserve.server.repository.load_order import Loader
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trials import Refused, Stopped, TooSlow, Trials
from support.bad_versions import BAD_FILES, BAD_GRAPHS, publish_good
from support.fake_trials import FakeTrials

PATIENCE = 30.0


class Several(FakeTrials):
    """Trials of which there are further ones, each of which is a fake, too."""

    def __init__(self, *, begun: threading.Barrier | None = None):
        super().__init__()
        self.others: list[FakeTrials] = []
        self._begun = begun

    def further(self, max_bytes):
        assert max_bytes == 64 << 20
        self.others.append(Several(begun=self._begun))
        self.others[-1]._outcomes = self._outcomes
        return self.others[-1]

    def outcome(self):
        if self._begun is not None and len(self.begun) == 1:
            self._begun.wait(PATIENCE)  # until as many are tried at the same time
        return super().outcome()


def make(root, *versions, trials, processes, timeout=60.0):
    for version in versions:
        (root / version).mkdir(parents=True)
    models = Repository(root)
    return Loader(models, trials, "cpu", allow_unproven=False, timeout=timeout, processes=processes), models


def names(count):
    return [f"m{number:02}/1" for number in range(count)]


def begun(trials):
    return sorted(version for each in (trials, *trials.others) for version, _ in each.begun)


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize(
    ("count", "processes", "further"), [(15, 4, 0), (16, 4, 1), (24, 4, 2), (40, 4, 3), (40, 1, 0)]
)
def test_as_many_processes_as_there_are_cores_and_work_for(tmp_path, count, processes, further):
    trials = Several()
    load, models = make(tmp_path, *names(count), trials=trials, processes=processes)
    load.load()
    assert models.is_ready()
    assert len(trials.others) == further
    assert begun(trials) == names(count)  # each is tried once
    assert all(each.is_closed for each in (trials, *trials.others))


@pytest.mark.usefixtures("fake_loading")
def test_they_try_at_the_same_time(tmp_path):
    trials = Several(begun=threading.Barrier(3))
    load, models = make(tmp_path, *names(24), trials=trials, processes=3)
    load.load()
    assert models.is_ready()


@pytest.mark.usefixtures("fake_loading")
def test_no_two_versions_of_a_model_are_tried_at_the_same_time(tmp_path):
    trials = Several()
    versions = [f"m{number:02}/{version}" for number in range(16) for version in (1, 2)]
    trials.refuse("m03/2")
    load, models = make(tmp_path, *versions, trials=trials, processes=4)
    load.load()
    assert {v for v in begun(trials) if v.endswith("/1")} == {"m03/1"}
    assert {name: models.versions(name) for name in models.models()} == {
        f"m{number:02}": ["1" if number == 3 else "2"] for number in range(16)
    }


class OnlyEarly(Several):
    """Further ones do not let pass what the first one does."""

    def __init__(self, outcome: Exception):
        super().__init__()
        self._early = outcome

    def further(self, max_bytes):
        other = super().further(max_bytes)
        other._outcomes = {version: [self._early] for version in names(16)}
        return other


@pytest.mark.usefixtures("fake_loading")
@pytest.mark.parametrize("outcome", [Refused("needs more memory"), TooSlow(), StartError("cannot start")])
def test_what_does_not_pass_early_keeps_its_turn(tmp_path, outcome):
    trials = OnlyEarly(outcome)
    trials.give("m15/1", Refused("golden.npz: no good"))
    load, models = make(tmp_path, *names(16), trials=trials, processes=2)
    load.load()
    assert trials.others[0].begun
    assert len(models.served()) == 16 - 1
    assert dict(models.statuses())["m15"][1] == Status(UNAVAILABLE, "golden.npz: no good")
    assert load.faults == ["m15 version 1: golden.npz: no good"]
    tried = [version for version, _ in trials.begun]
    assert sorted(tried) == sorted(set(tried))  # by the first process, once each


@pytest.mark.usefixtures("fake_loading")
def test_where_no_further_process_starts_one_tries_all(tmp_path, caplog):
    class Lonely(FakeTrials):
        def further(self, _):
            raise StartError("cannot start a process")

    trials = Lonely()
    load, models = make(tmp_path, *names(16), trials=trials, processes=2)
    load.load()
    assert models.is_ready()
    assert "versions are tried by fewer processes: cannot start a process" in caplog.messages


@pytest.mark.usefixtures("fake_loading")
def test_each_model_is_told_of_as_soon_as_it_serves(tmp_path):
    """The last of twenty stands still in its trial: the others are ready, but for one that may have passed."""
    go = threading.Event()

    class Waiting(Several):
        def further(self, _):
            self.others.append(Waiting())
            return self.others[-1]

        def outcome(self):
            if self._now == "m19/1":
                assert go.wait(PATIENCE)
            return FakeTrials.outcome(self)

    load, models = make(tmp_path, *names(20), trials=Waiting(), processes=2)
    thread = threading.Thread(target=load.load)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while len(models.served()) < 18 and time.monotonic() < deadline:
        time.sleep(0.01)
    states = [versions[1].state for _, versions in models.statuses()]
    assert states.count(READY) >= 18
    assert states[-1] == LOADING
    assert (models.is_served("m00"), models.is_served("m19"), models.is_ready()) == (True, False, False)
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
        trials = Trials(allow_unproven=False, max_bytes=512 << 20)
        Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, processes=processes).load()
        assert sorted(served.model.name for served in models.served()) == good
        said.append({name: versions for name, versions in models.statuses() if name not in good})
    assert said[0].keys() == bad.keys()
    assert said[0] == said[1]


def test_stop_ends_further_processes_too(tmp_path):
    BAD_GRAPHS["endless"][0](tmp_path, "endless")
    trials = Trials(allow_unproven=False, max_bytes=512 << 20)
    further = trials.further(64 << 20)
    further.begin(
        tmp_path / "endless" / "1",
        "endless",
        "1",
        "cpu",
        graph="auto",
        seconds=60.0,
        processor_seconds=60.0,
    )
    threading.Timer(0.5, trials.stop).start()
    with pytest.raises(Stopped):
        further.outcome()
    with pytest.raises(Stopped):
        trials.further(1)
    further.close()
    trials.close()
