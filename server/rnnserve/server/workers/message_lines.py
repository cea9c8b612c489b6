"""How a message between the supervisor and a worker is a line of text.

A line is the name of the message's class in small letters, and its fields after spaces: `counts 3 Zm9v YmFy`. Numbers
are decimal, bytes are base64, pins and proposals are JSON, and a text is as it is, to the end of the line. Supervisor
and worker may be of two releases: SIGHUP starts workers of what is installed by then. So no line changes its form, and
what else JSON has is not read.
"""

import base64
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from rnnserve.server.repository.pins import Pins, dump_pins, read_pins
from rnnserve.server.workers.messages import Message, Proposal

__all__ = ["MessageError", "MessageReader", "decode", "encode"]

_log = logging.getLogger(__name__)

_SHOWN = 60
"""Characters of a malformed line that an error shows."""


class MessageError(ValueError):
    """A line is no message of the one that has written it."""


def encode(message: Message) -> bytes:
    """Write a message as a line, with its end.

    Raises:
        ValueError: If a text of it has an end of line, which would make two lines of it.
    """
    words = [type(message).__name__.lower()]
    for field in dataclasses.fields(message):
        words += _CODECS[field.type].write(getattr(message, field.name))
    line = " ".join(words)
    if "\n" in line:
        raise ValueError(f"{line[:_SHOWN]!r} has an end of line within a message")
    return line.encode(errors="backslashreplace") + b"\n"


M = TypeVar("M", bound=Message)


def decode(line: bytes, side: type[M]) -> M:
    """Read a line, without its end.

    Args:
        line: The line.
        side: `WorkerMessage` or `SupervisorMessage`: whose it is to be.

    Raises:
        MessageError: If it is none.
    """
    try:
        word, *words = line.decode().split(" ")
        kind = _kind(word, side)
        return kind(*_read_fields(kind, words))
    except (ValueError, RecursionError) as error:
        start = line[:_SHOWN].decode(errors="backslashreplace")
        dots = "…" if len(line) > _SHOWN else ""
        raise MessageError(f'"{start}{dots}" ({len(line):,} bytes) is no message of {side.sender}: {error}') from error


def _kind(word: str, side: type[M]) -> type[M]:
    """The class that a line's first word names."""
    kinds = {kind.__name__.lower(): kind for kind in side.__subclasses__()}
    if word not in kinds:
        raise ValueError(f"its first word is none of {', '.join(sorted(kinds))}")
    return kinds[word]


def _read_fields(kind: type[Message], words: list[str]) -> list[object]:
    """Read the fields of a kind of message: a word for each, and for the last one all that are left."""
    fields = dataclasses.fields(kind)
    parts = [words[at : at + 1] for at in range(len(fields))]
    if fields:
        parts[-1] = words[len(fields) - 1 :]
    elif words:
        raise ValueError("nothing may follow this word")
    for field, part in zip(fields, parts, strict=True):
        if not part and not _CODECS[field.type].may_be_none:
            raise ValueError(f"its {field.name} is missing")
    return [_CODECS[field.type].read(part) for field, part in zip(fields, parts, strict=True)]


class MessageReader(Generic[M]):
    """Makes messages of the bytes that come out of a pipe. What is malformed is logged, and left out."""

    def __init__(self, side: type[M], sender: str) -> None:
        """Begin with nothing.

        Args:
            side: `WorkerMessage` or `SupervisorMessage`: whose pipe it is.
            sender: Name of it, for the log.
        """
        self._side = side
        self._sender = sender
        self._unread = b""  # the beginning of a line that has not arrived whole

    def read(self, data: bytes) -> Iterator[M]:
        """Take bytes, and give the messages that are whole now."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                yield decode(line, self._side)
            except MessageError as error:
                _log.error("%s writes what is left out: %s", self._sender, error)


def _write_proposal(proposal: Proposal) -> str:
    return json.dumps({"names": proposal.names, "pins": dump_pins(proposal.pins), "found": proposal.found})


def _read_proposal(text: str) -> Proposal:
    match json.loads(text):
        case {"names": [str(), *_] as names, "pins": str(pins), "found": list(found)} if all(
            isinstance(name, str) for name in names
        ):
            return Proposal(tuple(names), read_pins(pins), tuple(map(_read_found, found)))
    raise ValueError('a proposal is an object with "names", one at least, "pins" and "found"')


def _read_found(entry: object) -> tuple[str, int, dict[str, Any]]:
    match entry:
        case [str(name), int(version), dict(fields)] if not isinstance(version, bool):
            return name, version, fields
    raise ValueError("what was found of a version is its model's name, its number and an object")


def _read_number(words: list[str]) -> int:
    (word,) = words
    if not (word.isascii() and word.isdigit()) or word != str(int(word)):
        raise ValueError(f"{word!r} is no number")
    return int(word)


def _read_bytes(word: str) -> bytes:
    data = base64.b64decode(word, validate=True)
    if _write_bytes(data) != word:
        raise ValueError(f"{word[:_SHOWN]!r} is no base64")
    return data


def _write_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Codec(NamedTuple):
    """How a field is written as words, and read from them.

    Attributes:
        write: Gives the words: one, or of the last field several.
        read: Takes them; ValueError where they are none of it.
        may_be_none: Whether it may have no word at all.
    """

    write: Callable[[Any], list[str]]
    read: Callable[[list[str]], Any]
    may_be_none: bool = False


_CODECS: dict[object, _Codec] = {
    str: _Codec(lambda text: [text], " ".join),
    int: _Codec(lambda number: [str(number)], _read_number),
    bytes: _Codec(lambda data: [_write_bytes(data)], lambda words: _read_bytes(" ".join(words))),
    tuple[bytes, ...]: _Codec(
        lambda counts: list(map(_write_bytes, counts)), lambda words: tuple(map(_read_bytes, words)), may_be_none=True
    ),
    Pins: _Codec(lambda pins: [dump_pins(pins)], lambda words: read_pins(" ".join(words))),
    Proposal: _Codec(lambda proposal: [_write_proposal(proposal)], lambda words: _read_proposal(" ".join(words))),
}
"""How each type of field is written and read."""
