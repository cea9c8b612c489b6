"""Result files of commands: checked before the work begins, and written whole or not at all."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from rnnserve.client.errors import InvalidRequest

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path, option: str) -> None:
    """Check that a file can be written. Neither changes an existing file nor leaves a new one.

    Raises:
        InvalidRequest: The file cannot be written. The message contains the option and the reason.
    """
    try:
        if path.exists():
            with path.open("ab"):  # writes nothing, but fails on folders
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
    """Replace a file's content by a text in UTF-8. If that fails, the old content stays.

    Raises:
        InvalidRequest: The file cannot be written. The message contains the reason.
    """
    try:
        is_replaceable = path.is_file() and os.access(path.resolve().parent, os.W_OK)
        if path.exists() and not is_replaceable:  # a pipe, /dev/null, or a writable file in a read-only folder
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # keep a link as a link
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
