"""A server that reads every request whole: what those are compared with that recognise requests by their prefixes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from rnnserve.server import Settings
from rnnserve.server.testing import RunningServer, serve
from rnnserve.server.transport import public_calls
from rnnserve.server.transport.recognition import Recognition

__all__ = ["serve_reading_whole"]


class _ReadWhole(Recognition):
    def accept(self, payload, caller):
        return self._service.accept(payload, caller)


@contextlib.contextmanager
def serve_reading_whole(repository: Path) -> Iterator[RunningServer]:
    """Serve on the public transport, without prefixes: neither code nor cache is shared with what recognises them."""
    with contextlib.ExitStack() as stack:
        with mock.patch.object(public_calls, "Recognition", _ReadWhole):
            server = stack.enter_context(serve(repository, Settings(provider="cpu", transport="public")))
        yield server
