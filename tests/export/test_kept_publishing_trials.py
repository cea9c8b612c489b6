"""Trials of publications in one process: what they say, and what becomes of one that ends the process."""

import os
import signal
import subprocess
import sys

import pytest

from rnnserve.export import server_trial
from rnnserve.export.errors import ExportError
from support import kept_publishing_trials
from support.kept_publishing_trials import keep


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The kept processes, of this test alone."""
    monkeypatch.setattr(server_trial, "subprocess", subprocess)
    monkeypatch.setattr(kept_publishing_trials, "_kept", kept := [])
    keep()
    yield kept
    kept_publishing_trials.end_kept()


def test_one_process_says_what_one_for_each_says(exported, tmp_path, kept, monkeypatch):
    folder = exported[1].published.folder
    assert server_trial.try_on_server(folder, "direction_small") == server_trial.Tried()
    (first,) = kept
    with pytest.raises(ExportError, match="manifest") as by_kept:
        server_trial.try_on_server(folder, "another")
    assert kept == [first]
    monkeypatch.setattr(server_trial, "subprocess", subprocess)
    with pytest.raises(ExportError) as by_own:
        server_trial.try_on_server(folder, "another")
    assert str(by_kept.value) == str(by_own.value)


def test_one_that_is_ended_is_told_of_and_another_takes_its_place(exported, kept):
    folder = exported[1].published.folder
    server_trial.try_on_server(folder, "direction_small")
    os.kill(kept[0]._popen.pid, signal.SIGKILL)
    with pytest.raises(ExportError, match="its trial ended with SIGKILL"):
        server_trial.try_on_server(folder, "direction_small")
    assert server_trial.try_on_server(folder, "direction_small") == server_trial.Tried()


def test_other_surroundings_have_a_process_of_their_own(exported, kept, monkeypatch):
    folder = exported[1].published.folder
    server_trial.try_on_server(folder, "direction_small")
    (first,) = kept
    monkeypatch.setenv("SURROUNDINGS", "others")
    server_trial.try_on_server(folder, "direction_small")
    assert kept != [first]
    assert first._popen.poll() == 0


def test_words_that_the_program_does_not_know_end_it_as_they_end_a_process():
    command = [sys.executable, "-P", "-m", "rnnserve.server.trial", "--unheard-of"]
    kept, own = (
        run(command, env=dict(os.environ), timeout=60, capture_output=True, text=True, check=False)
        for run in (vars(server_trial)["subprocess"].run, subprocess.run)
    )
    assert (kept.returncode, kept.stdout) == (own.returncode, own.stdout)
    assert kept.stderr.splitlines()[-1].endswith("the following arguments are required: folder")
