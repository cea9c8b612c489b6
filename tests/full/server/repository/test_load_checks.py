"""One process checks all versions. It is replaced where one has ended it or takes too long."""

import logging
import os
import signal
import threading
import time

import pytest

from kit.bad_versions import BAD_GRAPHS, publish_good
from kit.checking import PATIENCE, pid
from rnnserve.server.repository.load_checks import Refused, Stopped, TooSlow


def test_load_check_that_blocks_without_computing_times_out(tmp_path, checked):
    publish_good(tmp_path)
    checked("good")
    os.kill(pid(checked), signal.SIGSTOP)
    with pytest.raises(TooSlow):
        checked("good", 0.3)
    checked("good")


def test_stop_ends_the_load_check_at_once(tmp_path, checked):
    BAD_GRAPHS["endless"][0](tmp_path, "endless")
    began = time.monotonic()
    threading.Timer(1.0, checked.checks.stop).start()
    with pytest.raises(Stopped):
        checked("endless")
    assert time.monotonic() - began < PATIENCE / 2
    with pytest.raises(Stopped):
        checked("endless")


def test_load_check_logs_and_prints_nothing(tmp_path, checked, capfd, caplog):
    BAD_GRAPHS["aborting"][0](tmp_path, "aborting")
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused):
        checked("aborting")
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []
