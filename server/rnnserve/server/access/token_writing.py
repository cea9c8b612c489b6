"""Writes the file of tokens, for `rnnserve token`: whole, at once; a new one for its user alone."""

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.server.access.access_file import AccessFileError, AccessRow, is_row_name, read_content, read_rows
from rnnserve.server.access.credentials import TOKENS

__all__ = ["add_token", "listed_tokens", "revoke_token"]

_PREFIX = "rnn_"
"""By which tools that look for secrets know a token."""

_RANDOM_BYTES = 32
_OWNER_AND_GROUP = 0o660
"""Bits of an existing file's mode that are kept: a server reads it by its group, say."""


def add_token(
    path: Path, name: str, role: str, models: Sequence[str] | None = None, not_after: dt.datetime | None = None
) -> str:
    """Make a token, write its digest to the file, and return the token, which is stored nowhere.

    Args:
        path: Path of the file; a missing one is made.
        name: Name of the token.
        role: Role of the token.
        models: Names of the models that it is for; None for all.
        not_after: Time of its end; None for never.

    Raises:
        AccessFileError: If the file cannot be used, or has a token of this name.
    """
    if not is_row_name(name):
        raise AccessFileError(f"{name!r} is not a name of a token: 1 to 64 letters, digits, _ and -")
    token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    lines = [f"[{name}]", f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"', f'role = "{role}"']
    if models is not None:
        lines.append(f"models = [{', '.join([_quoted(model) for model in models])}]")
    if not_after is not None:
        lines.append(f"not_after = {not_after.isoformat()}")
    with _locked(path):
        text = _text_of(path)
        if any(each.name == name for each in read_rows(text.encode(), path, TOKENS).values()):
            raise AccessFileError(f"{path} has a token {name} already: revoke it first, or choose another name")
        separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        _write(path, text + separator + "\n".join(lines) + "\n")
    return token


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of the file; what else stands there stays as it is.

    Raises:
        AccessFileError: If the file cannot be used, or has no token of this name.
    """
    with _locked(path):
        text = _text_of(path)
        tokens = read_rows(text.encode(), path, TOKENS)
        if all(token.name != name for token in tokens.values()):
            raise AccessFileError(f"{path} has no token {name}")
        head = re.compile(rf"""^[ \t]*\[[ \t]*["']?{re.escape(name)}["']?[ \t]*\][^\n]*\n?""", re.MULTILINE)
        found = head.search(text)
        left = text
        if found is not None:
            following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, found.end())
            end = following.start() if following else len(text)
            left = text[: found.start()] + _comments_at_end(text[found.start() : end]) + text[end:]
        expected = {digest: token for digest, token in tokens.items() if token.name != name}
        if read_rows(left.encode(), path, TOKENS) != expected:  # written by hand, in another form
            raise AccessFileError(f"{path}: cannot take [{name}] out of what stands there: take it out by hand")
        _write(path, left)


def listed_tokens(path: Path) -> list[AccessRow]:
    """Give the tokens of the file, by name.

    Raises:
        AccessFileError: If the file cannot be used.
    """
    return sorted(read_rows(read_content(path, TOKENS), path, TOKENS).values(), key=lambda token: token.name)


def _text_of(path: Path) -> str:
    try:
        return read_content(path, TOKENS).decode() if path.exists() else ""
    except UnicodeDecodeError as error:
        raise AccessFileError(f"{path}: not text in UTF-8") from error


def _comments_at_end(table: str) -> str:
    """The lines after a table that are not its own: comments on what follows, and what is empty."""
    lines = table.splitlines(keepends=True)
    count = next((at for at, line in enumerate(reversed(lines)) if line.strip() and line.lstrip()[0] != "#"), 0)
    return "".join(lines[len(lines) - count :])


def _quoted(text: str) -> str:
    return f'"{text}"'  # a model's name has no character that TOML would read otherwise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out: the folder is locked, since the file is another one after each change."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AccessFileError(f"the file of tokens {path} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, text: str) -> None:
    """Write the file whole: who reads it has the one before, or this one. A link stays, and leads to the new file.

    Owner, group and mode stay: the server may be another user.
    """
    path = path.resolve()
    try:
        before = path.stat() if path.exists() else None
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
        written = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                if before is not None:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), before.st_mode & _OWNER_AND_GROUP)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AccessFileError(f"the file of tokens {path} cannot be written: {error.strerror or error}") from error
