"""What `rnnserve.server` offers for embedding."""

import pytest

import rnnserve.server
from rnnserve.server import Server, Settings, app, choose_polling, settings
from rnnserve.server.fast_path import grpcio_core


def test_the_names_offered_are_these():
    assert rnnserve.server.__all__ == ["Server", "Settings", "choose_polling"]
    assert set(rnnserve.server.__all__) <= set(dir(rnnserve.server))
    assert Server is app.Server
    assert Settings is settings.Settings
    assert choose_polling is grpcio_core.choose_polling


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match=r"module 'rnnserve\.server' has no attribute 'Sever'"):
        rnnserve.server.Sever  # noqa: B018
