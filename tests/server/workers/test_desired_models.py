"""A worker follows changes that clients request from another worker, and retries failed changes."""

import logging

import pytest

from rnnserve.server.errors import LoadFailed, ShuttingDown, TooManyCalls
from rnnserve.server.workers.desired_models import DesiredModels


class Live:
    """A repository that follows requests, except while something fails."""

    def __init__(self):
        self.loaded: set[str] = set()
        self.tries = 0
        self.fails: Exception | None = None

    def load(self, name):
        self._change()
        self.loaded.add(name)

    def unload(self, name):
        self._change()
        self.loaded.discard(name)

    def _change(self):
        self.tries += 1
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def asked(tmp_path):
    """The worker that clients call."""
    return DesiredModels(tmp_path / "models.json")


@pytest.fixture
def other(tmp_path, asked):
    """Another worker, from before the first change."""
    return DesiredModels(tmp_path / "models.json")


@pytest.mark.parametrize("error", [LoadFailed("bad files"), TooManyCalls("loads", 64), ZeroDivisionError("defect")])
def test_failed_change_is_retried_until_it_succeeds(asked, other, caplog, error):
    live = Live()
    live.fails = error
    asked.note("scale", True)
    with caplog.at_level(logging.INFO):
        for now in range(1000):
            other.catch_up(live, float(now))
        assert live.tries == 200  # each 5 s
        live.fails = None
        other.catch_up(live, 1060.0)
        assert live.loaded == {"scale"}
        other.catch_up(live, 2000.0)
    assert len(caplog.messages) == 2
    assert "another worker has loaded scale, but this worker failed" in caplog.messages[0]
    assert "this worker has now done the same" in caplog.messages[1]


def test_failed_change_is_replaced_by_the_next_change(asked, other):
    live = Live()
    live.loaded, live.fails = {"scale"}, LoadFailed("bad files")
    asked.note("scale", True)
    other.catch_up(live, 0.0)
    live.fails = None
    asked.note("scale", False)
    other.catch_up(live, 0.1)
    assert live.loaded == set()
    other.catch_up(live, 100.0)
    assert live.tries == 2


def test_stopping_server_follows_no_changes(asked, other):
    live = Live()
    live.fails = ShuttingDown("the server is shutting down")
    asked.note("scale", True)
    with pytest.raises(ShuttingDown):
        other.catch_up(live, 0.0)
