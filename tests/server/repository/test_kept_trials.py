"""Processes that try versions are kept from one server of the tests to the next, which would start one like them."""

import os
import signal

import pytest

from rnnserve.server.repository.repository import READY
from support import kept_trials
from support.bad_versions import publish_good
from support.kept_trials import KeptTrials
from support.loaded import load_repository
from support.waiting import until


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a repository with a process that is kept, or starts one; gives the process that is kept after it."""
    monkeypatch.setattr(kept_trials, "_kept", [])
    publish_good(tmp_path)

    def load():
        models = load_repository(tmp_path, trials=KeptTrials())
        assert [versions[1].state for _, versions in models.statuses()] == [READY]
        (kept,) = kept_trials._kept
        return kept._process.pid

    yield load
    kept_trials.end_kept()


def test_the_next_server_has_the_process_of_the_one_before(load):
    assert load() == load()


def test_other_surroundings_have_a_process_of_their_own(load, monkeypatch):
    first = load()
    monkeypatch.setenv("ANOTHER", "1")
    trials = KeptTrials()
    assert trials._processes[0]._process.pid != first
    trials.close()


def test_a_process_that_has_ended_is_not_used_again(load):
    first = load()
    process = kept_trials._kept[0]._process
    os.kill(first, signal.SIGKILL)
    until(lambda: process._popen.poll() is not None)
    assert load() != first
