"""A server of one model, as platforms mount it: the folder that is served is the model's own, whatever its name is."""

import functools
import os
import signal

import pytest

from kit.served import served
from kit.tiny import answers, publish_tiny
from kit.waiting import until
from rnnserve.server import app
from rnnserve.server.repository.live import LiveRepository

NAME = "speed-by-hour"
"""What it is served under: no folder and no config.pbtxt has this name."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model's folder, as it is mounted."""
    monkeypatch.setattr(app, "LiveRepository", functools.partial(LiveRepository, settled_seconds=0.05))
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    (tmp_path / "mnt").mkdir()
    return (tmp_path / "repository/scale").rename(tmp_path / "mnt/models")


def publish(folder, version, factor):
    """Publish a version in a model's folder."""
    published = publish_tiny(folder.parents[1] / "repository", "scale", version, factor)
    return published.rename(folder / str(version))


def test_a_worker_that_is_replaced_serves_it_again(folder):
    with served(folder, "process", model_name=NAME, workers=2, model_control="poll") as server:
        assert answers(server.port, NAME) == {("1", 1.5)}
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log)
        assert answers(server.port, NAME) == {("1", 1.5)}
        publish(folder, 2, 2.5)
        server.send(signal.SIGHUP)
        until(lambda: answers(server.port, NAME) == {("2", 2.5)})
    assert "Traceback" not in server.log
