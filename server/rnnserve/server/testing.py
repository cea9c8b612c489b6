"""A server for the tests of code that uses one.

::

    from rnnserve.client import Client
    from rnnserve.server.testing import serve

    def test_my_application():
        with serve("repository") as server, Client(server.address) as client:
            ...

The server is the one that `rnnserve serve` runs, in the process of the test: it proves the models before it serves them
and refuses what the other refuses. As a fixture with the scope of the session it starts once::

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

# Tests give the same bits on every machine only on the CPU.
_ON_CPU = Settings(provider="cpu")


@contextlib.contextmanager
def serve(repository: Path | str, settings: Settings = _ON_CPU) -> Iterator[Server]:
    """Serve `repository` on a free port of 127.0.0.1; when the block ends, the server is stopped and the port is free.

    Args:
        repository: The folder with the models.
        settings: Everything else, for example the limits of requests. Its repository, host and port are not used.

    Yields:
        The server; clients connect to its `address`.

    Raises:
        StartError: If no model may serve, or there is no such folder.
    """
    settings = dataclasses.replace(settings, repository=Path(repository), host="127.0.0.1", grpc_port=0)
    with Server(settings) as server:
        yield server
