"""A server for the tests of code that uses one.

::

    from rnnserve.client import Client
    from rnnserve.server.testing import serve

    def test_my_application():
        with serve("repository") as server, Client(server.address) as client:
            ...

This is the server of `rnnserve serve`, run in the test's process. It verifies models before it serves them, and rejects
the same models and requests. To start it only once, use a fixture with session scope::

    @pytest.fixture(scope="session")
    def server():
        with serve("repository") as server:
            yield server
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from rnnserve.server.app import Server
from rnnserve.server.settings import Settings

__all__ = ["serve"]

# Only the CPU returns identical bits on every machine.
_ON_CPU = Settings(provider="cpu")


@contextlib.contextmanager
def serve(repository: Path | str, settings: Settings = _ON_CPU) -> Iterator[Server]:
    """Serve `repository` on a free port of 127.0.0.1 until the block ends.

    Args:
        repository: The folder with the models.
        settings: All other settings, for example limits of requests. Its repository, host and port are ignored.

    Yields:
        The server. Clients connect to its `address`.

    Raises:
        StartError: If the folder doesn't exist, or no model can be served.
    """
    settings = dataclasses.replace(settings, repository=Path(repository), host="127.0.0.1", grpc_port=0)
    with Server(settings) as server:
        yield server
