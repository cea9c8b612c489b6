"""The file that says who may do what: of tokens, or of client roles. TOML, with a table for each.

Of tokens, each table has the digest, and never the token itself::

    [team-a]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    role = "infer"                        # or "admin", "metrics"
    models = ["direction_bidirectional"]  # where it is not for all
    not_after = 2027-06-30T00:00:00Z      # where it ends
    rate = 200.0                          # requests a second
    in_flight = 64                        # requests at once
    bytes_per_second = 50_000_000         # of requests

A token has 256 random bits, so that a plain digest of it is enough: there is nothing to guess. The file of client roles
has names of certificates in the place of digests (`client_certificates`). A file in which anything is wrong is refused
as a whole, by its line: a misspelled limit would else be none.
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

__all__ = ["TOKENS", "AccessFileError", "AccessRow", "FileKind", "Limits", "is_row_name", "read_content", "read_rows"]

_MOST_BYTES = 4 << 20
"""Bytes of the file of tokens, or of client roles. Beyond it: the file is refused, and what held before holds."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class AccessFileError(Exception):
    """The file cannot be used; the message says why, and where."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the requests of a row's holder may take; None for no limit.

    Attributes:
        rate: Requests a second.
        in_flight: Requests at once.
        bytes_per_second: Bytes of requests a second.
    """

    rate: float | None = None
    in_flight: int | None = None
    bytes_per_second: int | None = None

    @property
    def is_any(self) -> bool:
        """Whether there is any limit."""
        return not (self.rate is None and self.in_flight is None and self.bytes_per_second is None)


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRow:
    """What a table of the file says of its holder: a token, or clients with a certificate.

    Attributes:
        name: Its name, in metrics and for `rnnserve token`.
        key: What it is found by: SHA-256 of the token, or a name in the client's certificate (`client_certificates`).
        role: One of `ROLES`.
        models: Names of the models that it is for; None for all.
        not_after: When it ends, in seconds since the epoch; None for never.
        limits: What its holder's requests may take.
    """

    name: str
    key: bytes | str
    role: str
    models: frozenset[str] | None = None
    not_after: float | None = None
    limits: Limits = Limits()

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
    """What a file says, and of whom.

    Attributes:
        title: What it is called in messages.
        key: Key of a table that says by what its holder is found.
        read_key: Function that reads the value of that; raises ValueError.
        is_secret: Whether no other user may read it.
    """

    title: str
    key: str
    read_key: Callable[[object], bytes | str]
    is_secret: bool


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("expected 64 hexadecimal digits, the SHA-256 of a token (rnnserve token new)")
    return bytes.fromhex(value)


TOKENS = FileKind("the file of tokens", "sha256", _digest, is_secret=True)


def read_content(path: Path, kind: FileKind = TOKENS) -> bytes:
    """Read the file.

    Args:
        path: Path of the file.
        kind: Kind of the file.

    Raises:
        AccessFileError: If it cannot be read, any user may read or write it, or it is too large.
    """
    title = f"{kind.title} {path}"
    try:
        # Without waiting for a writer, should it be a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise AccessFileError(f"{title} is no regular file")
            if mode & (stat.S_IWOTH | (stat.S_IROTH if kind.is_secret else 0)):
                raise AccessFileError(f"{title} is open to every user of this machine: chmod o-rw {path}")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AccessFileError(f"{title} cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise AccessFileError(f"{title} has more than {_MOST_BYTES:,} bytes")
    return content


def read_rows(content: bytes, path: Path, kind: FileKind = TOKENS) -> dict[bytes | str, AccessRow]:
    """Give the rows by their keys, in the order of the file; none of an empty file.

    Args:
        content: Content of the file.
        path: Path of the file, for messages.
        kind: Kind of the file.

    Raises:
        AccessFileError: If anything in it is wrong.
    """
    try:
        tables = parse_toml(content, path)
    except ValueError as error:
        raise AccessFileError(str(error)) from error
    text = content.decode()
    rows: dict[bytes | str, AccessRow] = {}
    for name, table in tables.items():
        try:
            row = _row(name, table, rows, kind)
        except _Wrong as wrong:
            place = f"{path}:{_line_of(name, wrong.key, text)}"
            raise AccessFileError(f"{place}: [{name}] {wrong.key}{': ' if wrong.key else ''}{wrong}") from wrong
        rows[row.key] = row
    return rows


class _Wrong(Exception):
    """What is wrong with a key of a table."""

    def __init__(self, key: str, said: str) -> None:
        super().__init__(said)
        self.key = key


def _row(name: str, table: object, others: Mapping[bytes | str, AccessRow], kind: FileKind) -> AccessRow:
    if not isinstance(table, dict):
        raise _Wrong("", "a table is expected for each: [name]")
    if not is_row_name(name):
        raise _Wrong("", "a name has 1 to 64 letters, digits, _ and -")
    readers = {kind.key: kind.read_key, **_READERS}
    for key in table:
        if key not in readers:
            raise _Wrong(key, f"there is no such key; there are {', '.join(readers)}")
    for key in (kind.key, "role"):
        if key not in table:
            raise _Wrong("", f"{key} is missing")
    said: dict[str, Any] = {}
    for key, value in table.items():
        try:
            said[key] = readers[key](value)
        except ValueError as error:
            raise _Wrong(key, str(error)) from error
    if said[kind.key] in others:
        raise _Wrong(kind.key, f"that of {others[said[kind.key]].name}, too")
    limits = Limits(said.get("rate"), said.get("in_flight"), said.get("bytes_per_second"))
    return AccessRow(name, said[kind.key], said["role"], said.get("models"), said.get("not_after"), limits)


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


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError("expected a number above 0")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("expected a whole number of 1 or more")
    return value


_READERS: Mapping[str, Any] = {
    "role": _role,
    "models": _models,
    "not_after": _not_after,
    "rate": _rate,
    "in_flight": _count,
    "bytes_per_second": _count,
}


def _line_of(name: str, key: str, text: str) -> int:
    """The line of a row's key, or where its table begins."""
    head = re.search(rf"""^[ \t]*\[?[ \t]*["']?{re.escape(name)}["']?[ \t]*[\].=]""", text, re.MULTILINE)
    if head is None:
        return 1
    found = re.compile(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=""", re.MULTILINE).search(text, head.end())
    at = found.start() if key and found else head.start()
    return text.count("\n", 0, at) + 1
