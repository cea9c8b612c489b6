"""One process tries all versions. It is replaced where one has ended it or takes too long."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from kit.bad_versions import BAD_GRAPHS, publish_good
from rnnserve.server.repository.trial_process import Refused, Stopped, TooSlow, Trial, TrialProcess

PATIENCE = 60.0


def trial_of(root: Path, name: str, **more) -> Trial:
    may_take = {"max_bytes": 512 << 20, "seconds": PATIENCE, "processor_seconds": PATIENCE, **more}
    return Trial(root / name / "1", name, "1", "cpu", "auto", allow_unproven=False, threads=1, **may_take)


class Tried:
    """Tries versions of a folder, and gives what came of it."""

    def __init__(self, root: Path):
        self.trials = TrialProcess()
        self._root = root

    def __call__(self, name: str, seconds: float = PATIENCE):
        self.trials.begin(trial_of(self._root, name, processor_seconds=seconds))
        return self.trials.outcome()


@pytest.fixture
def tried(tmp_path):
    tried = Tried(tmp_path)
    yield tried
    tried.trials.close()


def pid(tried) -> int:
    return tried.trials._process.pid


def test_the_clock_limits_what_does_not_compute(tmp_path, tried):
    publish_good(tmp_path)
    tried("good")
    os.kill(pid(tried), signal.SIGSTOP)
    tried.trials.begin(trial_of(tmp_path, "good", seconds=0.3))
    with pytest.raises(TooSlow):
        tried.trials.outcome()
    tried("good")


def test_stop_ends_the_trial_at_once(tmp_path, tried):
    BAD_GRAPHS["endless"][0](tmp_path, "endless")
    began = time.monotonic()
    threading.Timer(1.0, tried.trials.stop).start()
    with pytest.raises(Stopped):
        tried("endless")
    assert time.monotonic() - began < PATIENCE / 2
    with pytest.raises(Stopped):
        tried("endless")


def test_it_logs_and_prints_nothing(tmp_path, tried, capfd, caplog):
    BAD_GRAPHS["aborting"][0](tmp_path, "aborting")
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused):
        tried("aborting")
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []
