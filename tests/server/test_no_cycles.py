"""No request leaves a cycle, nor anything else, when it has been answered: some kinds of calls; the full suite has all.

They are tried after requests that make what stays: prefixes, schedulers, threads.
"""

import pytest

from kit import left_behind
from kit.kinds_of_calls import KINDS, Client, small_middle_and_large
from kit.left_behind import NothingLeft
from kit.served import served
from rnnserve.server.errors import QueueFull


@pytest.fixture(scope="module")
def channel(repository, session_key):
    more = {"session_key": session_key, "model_control": "explicit", "load_model": "*"}
    with served(repository, **more) as server, server.channel() as channel:
        yield channel


@pytest.mark.parametrize("name", ["compressed", "steps_of_a_sequence", "refused_by_validation", "runs_that_fail"])
def test_answered_request_leaves_no_objects(channel, name, monkeypatch):
    with Client(channel, is_stream=False) as client:
        small_middle_and_large(client, None)
    with NothingLeft(), monkeypatch.context() as patched, Client(channel, is_stream=False) as client:
        KINDS[name](client, patched)


def test_check_detects_leftover_objects(monkeypatch):
    """The check detects a cycle, and an error that something keeps."""

    def cycle():
        error = QueueFull("model", 1)
        error.field = [error]  # type: ignore[assignment]

    monkeypatch.setattr(left_behind, "PATIENCE", 0.1)
    with pytest.raises(AssertionError, match="QueueFull"), NothingLeft():
        cycle()
    kept = []
    with pytest.raises(AssertionError, match="QueueFull"), NothingLeft():
        kept.append(QueueFull("model", 1))
