"""One process tries all versions. It is replaced where one has ended it or takes too long."""

import logging
import os
import signal
import threading
import time

import pytest

from kit.bad_versions import BAD_GRAPHS, publish_good
from kit.trial_processes import PATIENCE, pid, trial_of
from rnnserve.server.repository.trial_process import Refused, Stopped, TooSlow


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
