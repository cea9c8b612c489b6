"""A server that reads every request whole: the oracle for servers that recognize requests by their templates."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from rnnserve.server import Server, Settings
from rnnserve.server.fast_path import admission
from rnnserve.server.testing import serve

__all__ = ["serve_reading_whole"]


class _NoTemplates:
    """Keeps no template, and recognizes nothing."""

    def __init__(self, **_: object) -> None:
        pass

    def clear(self):
        pass

    def add(self, *_):
        pass

    def shared(self, _):
        return None

    recognise = shared


@contextlib.contextmanager
def serve_reading_whole(repository: Path) -> Iterator[Server]:
    """Serve on the plain transport, without templates."""
    with contextlib.ExitStack() as stack:
        with mock.patch.object(admission, "PrefixCache", _NoTemplates):
            server = stack.enter_context(serve(repository, Settings(provider="cpu", plain=True)))
        yield server
