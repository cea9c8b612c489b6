"""The files that a command writes its results to: tried before the work is done, and written whole or not at all."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from rnnserve.client.errors import InvalidRequest

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path, option: str) -> None:
    """Check that a file can be written, without changing one that is there or leaving one.

    Raises:
        InvalidRequest: It cannot. The message names the option and says why.
    """
    try:
        if path.exists():
            with path.open("ab"):  # writes nothing, and fails on folders
                pass
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        reason = error.strerror
        if not path.parent.is_dir():
            reason = f"there is no folder {path.parent}"
        raise InvalidRequest(f"{option}: {path}: cannot be written ({reason}); nothing was measured") from error


def write_whole(path: Path, text: str) -> None:
    """Write a text in UTF-8 in the place of what is there; if that fails, what is there stays.

    Raises:
        InvalidRequest: It cannot be written. The message says why.
    """
    try:
        is_replaceable = path.is_file() and os.access(path.resolve().parent, os.W_OK)
        if path.exists() and not is_replaceable:  # a pipe, /dev/null, or a file alone in what may be written
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # a link stays one
        temporary = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
        try:
            temporary.write_text(text, encoding="utf-8")
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise InvalidRequest(
            f"{path}: cannot be written ({error.strerror}); nothing of it was left behind"
            + (", and the older file is as it was" if path.is_file() else "")
        ) from error
