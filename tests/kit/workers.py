"""The older names of `kit.served.served` for a process, and of `kit.asking`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kit.asking import Load, ask
from kit.served import ServedProcess as Serving
from kit.served import new_channel, served

__all__ = ["Load", "Serving", "ask", "new_channel", "serving"]


@contextlib.contextmanager
def serving(repository: Path, folder: Path, *options: str, patch: str = "") -> Iterator[Serving]:
    """Serve a repository. The log lies elsewhere."""
    del folder
    with served(repository, "process", options=options, patch=patch) as server:
        yield server
        server.is_over = server.is_over or server.has_ended
