"""A file system on which one call fails, or every call from then on, as on a disk that is full."""

import errno
import io
import os
from pathlib import Path
from typing import Any


class FailingWrites:
    """Counts the calls that change the file system, and fails one of them.

    Attributes:
        calls: What was called, in order.
    """

    def __init__(self, monkeypatch: Any, fail_at: int | None = None, error: BaseException | None = None) -> None:
        """Replace the calls.

        Args:
            monkeypatch: pytest's, which puts them back.
            fail_at: Index of the call that fails; None for none.
            error: What is raised; None for "No space left on device", from this call on in every call that needs space.
        """
        self.calls: list[str] = []
        self._fail_at = fail_at
        self._error = error
        for name in ("mkdir", "rename", "replace", "fsync"):
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        monkeypatch.setattr(io, "open", self._open(io.open))

    def enter(self, name: str) -> None:
        """Count a call, or fail it."""
        index = len(self.calls)
        self.calls.append(name)
        if self._fail_at is None or index < self._fail_at:
            return
        if self._error is not None:
            if index == self._fail_at:
                raise self._error
        elif index == self._fail_at or name not in ("rename", "replace"):  # which a full disk allows
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _counted(self, name: str, call: Any) -> Any:
        def counted(*args: Any, **named: Any) -> Any:
            if name != "mkdir" or not Path(args[0]).is_dir():  # `exist_ok` takes any failure there for success
                self.enter(name)
            return call(*args, **named)

        return counted

    def _open(self, call: Any) -> Any:
        def opened(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
            if set(mode) & set("wxa+"):
                self.enter("open")
                return _File(call(file, mode, *args, **named), self)
            return call(file, mode, *args, **named)

        return opened


class _File:
    """A file whose writing and flushing count."""

    def __init__(self, file: Any, writes: FailingWrites) -> None:
        self._file, self._writes = file, writes

    def write(self, data: Any) -> Any:
        self._writes.enter("write")
        return self._file.write(data)

    def flush(self) -> None:
        self._writes.enter("flush")
        self._file.flush()

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def everything(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))
    }
