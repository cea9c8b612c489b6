"""Processes that try versions are kept from one server of the tests to the next, which would start one like them."""

import dataclasses
import os
import signal

import pytest

from rnnserve.server.repository.repository import READY, UNAVAILABLE
from rnnserve.server.repository.trial_process import TrialProcess
from support import kept_trials
from support.bad_versions import publish_good
from support.kept_trials import KeptTrials
from support.loaded import load_repository
from support.waiting import until


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a repository with a process that is kept, or starts one; gives the process that is kept after it."""
    monkeypatch.setattr(kept_trials, "_kept", [])
    monkeypatch.setattr(kept_trials, "_found", {})
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


@pytest.fixture
def sent(monkeypatch):
    """The trials that processes are asked for."""
    sent, begin = [], TrialProcess.begin
    monkeypatch.setattr(TrialProcess, "begin", lambda self, trial: (sent.append(trial), begin(self, trial))[1])
    return sent


def test_the_same_bytes_are_tried_once(load, sent):
    load()
    (found,) = kept_trials._found.values()
    load()
    assert len(sent) == 1
    assert list(kept_trials._found.values()) == [found]


def test_other_bytes_other_surroundings_and_other_limits_are_tried_again(load, sent, tmp_path, monkeypatch):
    load()
    (tmp_path / "good" / "1" / "notes").write_text("of no use")
    load()
    monkeypatch.setenv("ANOTHER", "1")
    kept_trials.end_kept()
    load()
    assert len(sent) == len(kept_trials._found) == 3
    trials = KeptTrials()
    (process,) = trials._processes
    process.begin(dataclasses.replace(sent[-1], threads=2))
    process.outcome()
    trials.close()
    assert len(sent) == len(kept_trials._found) == 4


def test_what_was_refused_is_tried_again(load, sent, tmp_path):
    load()
    (publish_good(tmp_path, "bad") / "model.onnx").write_bytes(b"no model")
    for _ in range(2):
        models = load_repository(tmp_path, trials=KeptTrials())
        assert {name: versions[1].state for name, versions in models.statuses()} == {"bad": UNAVAILABLE, "good": READY}
    assert [trial.name for trial in sent] == ["good", "bad", "bad"]
    assert len(kept_trials._found) == 1


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large file"])
def test_what_is_no_plain_file_is_tried_again(load, sent, tmp_path, kind):
    folder = tmp_path / "good" / "1"
    if kind == "link":
        (folder / "manifest.json").rename(folder / "other")
        (folder / "manifest.json").symlink_to("other")
    elif kind == "pipe":
        os.mkfifo(folder / "other")
    elif kind == "folder":
        (folder / "other").mkdir()
    else:
        with (folder / "other").open("wb") as file:
            file.truncate(1 << 30)
    load()
    load()
    assert len(sent) == 2
