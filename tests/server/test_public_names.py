"""What `rnnserve.server` offers for embedding."""

import pytest

import rnnserve.server
from rnnserve.server import Server, Settings, app, settings


def test_the_names_offered_are_these():
    assert rnnserve.server.__all__ == ["Server", "Settings"]
    assert {"Server", "Settings"} <= set(dir(rnnserve.server))
    assert Server is app.Server
    assert Settings is settings.Settings


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match=r"module 'rnnserve\.server' has no attribute 'Sever'"):
        rnnserve.server.Sever  # noqa: B018
