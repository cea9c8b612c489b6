"""What `rnnserve.server` offers for embedding."""

import rnnserve.server
from rnnserve.server import Server, Settings, app, choose_polling, settings
from rnnserve.server.fast_path import grpcio_core


def test_public_names_are_exported():
    assert rnnserve.server.__all__ == ["Server", "Settings", "choose_polling"]
    assert set(rnnserve.server.__all__) <= set(dir(rnnserve.server))
    assert Server is app.Server
    assert Settings is settings.Settings
    assert choose_polling is grpcio_core.choose_polling
