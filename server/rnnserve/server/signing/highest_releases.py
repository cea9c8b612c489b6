"""The highest release that has served of each model: what may not be gone back behind.

In memory, for one process; in a file for workers, which their supervisor gives one, and over restarts with
`--signature-record`. A lock beside the file lets several processes write it.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from rnnserve.common.regular_files import read_regular
from rnnserve.protos.signing.signed_version import SignatureError

__all__ = ["HighestReleases", "Order"]

Order = tuple[int, str]
"""Sequence number of a release, and when it was created."""

_MOST_BYTES = 1 << 24


class HighestReleases:
    """The highest release of each model. Any thread may use it."""

    def __init__(self, path: Path | None = None) -> None:
        """Prepare.

        Args:
            path: File in which they are kept; None for nowhere.
        """
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Order] = {}

    def of(self, name: str) -> Order | None:
        """Give the highest release of a model that has served; None where none has.

        Raises:
            SignatureError: If the file cannot be read.
        """
        with self._lock:
            found = [order for order in (self._known.get(name), self._read().get(name)) if order is not None]
        return max(found, default=None)

    def note(self, name: str, order: Order, *, may_go_back: bool = False) -> None:
        """Note what serves of a model from now on.

        Args:
            name: The model.
            order: Order of its highest release.
            may_go_back: Whether an earlier one takes the place of a later one.

        Raises:
            SignatureError: If the file cannot be read.
            OSError: If it cannot be written; this process has noted it then.
        """
        with self._lock:
            self._known[name] = order if may_go_back else max(order, self._known.get(name, order))
            if self._path is None:
                return
            with self._locked(self._path):
                found = self._read()
                before = found.get(name)
                if before == order or (before is not None and before > order and not may_go_back):
                    return
                self._write(self._path, {**found, name: order})

    def check(self, *, is_written: bool) -> None:
        """Check that the file can be read, and written where it is to be: it is written as it is.

        Raises:
            SignatureError: If it cannot be read.
            OSError: If it cannot be written.
        """
        if self._path is None or not is_written:
            self._read()
            return
        with self._locked(self._path):
            self._write(self._path, self._read())

    def _read(self) -> dict[str, Order]:
        if self._path is None:
            return {}
        try:
            fields = json.loads(read_regular(self._path, _MOST_BYTES))
            return {name: (int(sequence), str(created)) for name, (sequence, created) in fields["models"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SignatureError(f"--signature-record cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SignatureError("--signature-record names a file that is no record of releases") from error

    def _write(self, path: Path, releases: Mapping[str, Order]) -> None:
        written = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            with written.open("w") as file:
                json.dump({"models": dict(sorted(releases.items()))}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            written.replace(path)
        finally:
            written.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Let no other process write the file."""
        with path.with_name(f"{path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
