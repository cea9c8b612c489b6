"""The file that says who may do what: of tokens (--tokens), or of client certificates (--client-roles). TOML.

Each table has the digest of a token, and never the token itself::

    [team-a]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    role = "infer"                        # or "admin", "metrics"
    models = ["direction_bidirectional"]  # if it is not for all
    not_after = 2027-06-30T00:00:00Z      # if it ends

A token has 256 random bits, so a plain digest of it is enough. The file of client roles has `subject`, a name in a
certificate, instead of `sha256` (`credentials`). A file with any mistake is refused as a whole, by line: a misspelled
`models` would otherwise admit to all of them.
"""

import dataclasses
import datetime as dt
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnserve.common.toml_files import parse_toml
from rnnserve.protos.access_table import ROLES, Need
from rnnserve.protos.names import is_model_name

__all__ = ["AccessFileError", "AccessRow", "FileKind", "is_row_name", "read_content", "read_rows"]

_MOST_BYTES = 4 << 20
"""Bytes of the file of tokens, or of client roles. Beyond it: the file is refused, and what held before holds."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_FORMER_KEYS = ("rate", "in_flight", "bytes_per_second")


class AccessFileError(Exception):
    """The file cannot be used; the message says why, and where."""


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRow:
    """What a table of the file says of its holder.

    Attributes:
        name: Its name, in metrics and for `rnnserve token`.
        key: SHA-256 of the token, or a name in the client's certificate.
        role: One of `ROLES`.
        models: Names of the models that it is for; None for all.
        not_after: When it ends, in seconds since the epoch; None for never.
    """

    name: str
    key: bytes | str
    role: str
    models: frozenset[str] | None = None
    not_after: float | None = None

    def has_role(self, need: Need) -> bool:
        """Whether its role is one that is needed."""
        return self.role in need.roles

    def is_for(self, name: str) -> bool:
        """Whether it is for a model, if there is one of that name."""
        return self.models is None or name in self.models


def is_row_name(text: str) -> bool:
    """Whether a row may have this name."""
    return _NAME.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A file of tokens, or one of client roles.

    Attributes:
        title: What it is called in messages.
        key: Key of a table by whose value its holder is found.
        read_key: Function that reads that value; raises ValueError.
        is_secret: Whether other users may not read it.
    """

    title: str
    key: str
    read_key: Callable[[object], bytes | str]
    is_secret: bool


def read_content(path: Path, kind: FileKind) -> bytes:
    """Read the file.

    Raises:
        AccessFileError: If it cannot be read, any user may read or write it, or it is too large.
    """
    title = f"{kind.title} {path}"
    try:
        # Without waiting for a writer, should it be a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise AccessFileError(f"{title} is not a regular file")
            if mode & (stat.S_IWOTH | (stat.S_IROTH if kind.is_secret else 0)):
                raise AccessFileError(f"{title} is open to every user of this machine: chmod o-rw {path}")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AccessFileError(f"{title} cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise AccessFileError(f"{title} has more than {_MOST_BYTES:,} bytes")
    return content


def read_rows(content: bytes, path: Path, kind: FileKind) -> dict[bytes | str, AccessRow]:
    """Return the rows by their keys, in the order of the file.

    Raises:
        AccessFileError: If anything in it is wrong; the message begins with path and line.
    """
    try:
        tables = parse_toml(content, path)
    except ValueError as error:
        raise AccessFileError(str(error)) from error
    rows: dict[bytes | str, AccessRow] = {}
    for name, table in tables.items():
        try:
            row = _read_row(name, table, kind, rows)
        except _Mistake as mistake:
            place = f"{path}:{_line_of(name, mistake.key, content.decode())}"
            raise AccessFileError(f"{place}: [{name}] {mistake.key}{': ' if mistake.key else ''}{mistake}") from mistake
        rows[row.key] = row
    return rows


class _Mistake(Exception):
    """A mistake in a table, or in the value of one of its keys."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _read_row(name: str, table: object, kind: FileKind, others: Mapping[bytes | str, AccessRow]) -> AccessRow:
    if not isinstance(table, dict):
        raise _Mistake("", "a table is expected for each: [name]")
    if not is_row_name(name):
        raise _Mistake("", "a name has 1 to 64 letters, digits, _ and -")
    readers = {kind.key: kind.read_key, "role": _role, "models": _models, "not_after": _not_after}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _FORMER_KEYS:
            raise _Mistake(key, "tokens have no limits any more: remove the line, and limit rates in a proxy")
        if key not in readers:
            raise _Mistake(key, f"there is no such key; there are {', '.join(readers)}")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise _Mistake(key, str(error)) from error
    for key in (kind.key, "role"):
        if key not in values:
            raise _Mistake("", f"{key} is missing")
    if values[kind.key] in others:
        raise _Mistake(kind.key, f"[{others[values[kind.key]].name}] has the same")
    return AccessRow(name, values[kind.key], values["role"], values.get("models"), values.get("not_after"))


def _role(value: object) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise ValueError(f"expected one of {', '.join(ROLES)}")
    return value


def _models(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and is_model_name(name) for name in value):
        raise ValueError("expected a list of models' names")
    return frozenset(value)


def _not_after(value: object) -> float:
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise ValueError("expected a date and a time with its zone, such as 2027-06-30T00:00:00Z")
    return value.timestamp()


def _line_of(name: str, key: str, text: str) -> int:
    """The line of a row's key, or where its table begins."""
    head = re.search(rf"""^[ \t]*\[?[ \t]*["']?{re.escape(name)}["']?[ \t]*[\].=]""", text, re.MULTILINE)
    if head is None:
        return 1
    found = re.compile(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=""", re.MULTILINE).search(text, head.end())
    at = found.start() if key and found else head.start()
    return text.count("\n", 0, at) + 1
