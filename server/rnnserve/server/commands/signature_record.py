"""One record of what has served, for all workers of a server."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rnnserve.server.settings import Settings
from rnnserve.server.signing.gate import open_gate

__all__ = ["record_shared"]


@contextlib.contextmanager
def record_shared(settings: Settings) -> Iterator[Settings]:
    """Give the settings of workers: with a record, for the time that they run, where signatures need one.

    Raises:
        StartError: If the options of signatures do not fit together, or a file of them cannot be read.
    """
    open_gate(settings)  # here, so that not each worker says it
    if not settings.require_signature or settings.signature_record is not None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="rnnserve-signatures-") as folder:
        yield dataclasses.replace(settings, signature_record=Path(folder) / "record.json")
