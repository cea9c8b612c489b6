"""Handles standard streams that are closed, full, without a reader, or in a limited encoding."""

import codecs
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["discard_output", "in_encoding", "open_streams", "output_error", "say"]

_PLAIN = {"…": "...", "\u2013": "-", "—": "-", "\u00d7": "x", "→": "->"}
_ESCAPES = "rnnserve.escapes"


def open_streams(*, needs_output: bool) -> bool:
    r"""Make the standard streams usable. Return False if standard output is closed but needed.

    A closed descriptor is opened on /dev/null. Otherwise the next opened file, such as a model, would get its number,
    and a library's output would be written into that file. Characters that standard output can't encode are printed as
    `\u2026`, which is also valid JSON.

    Args:
        needs_output: Whether the command prints results.
    """
    codecs.register_error(_ESCAPES, _escape)
    is_closed = sys.stdout is None
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            _reserve(descriptor)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:  # else it is the caller's stream
        raw = _Output(sys.stdout.fileno(), "w", closefd=False)
        # Line by line for a reader that waits for them: a terminal, or PYTHONUNBUFFERED.
        by_lines = sys.stdout.line_buffering or sys.stdout.write_through
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), sys.stdout.encoding, _ESCAPES, line_buffering=by_lines)
    return not (is_closed and needs_output)


class _Output(io.FileIO):
    """Standard output that keeps the error of the last write, because an OSError doesn't name its file.

    Attributes:
        error: The error, or None.
    """

    error: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, and keep an error."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def output_error() -> OSError | None:
    """Flush standard output. Return the error of this or an earlier write, or None."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    except ValueError:  # closed by the program itself
        return None
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Output) else None


def discard_output() -> None:
    """Discard unwritten output, because Python would try to write it again at exit and print an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def say(line: str) -> None:
    """Print a line on standard error. A failed write can't be reported and is ignored."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # Python would try again at its end, and its exit status would be 120.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays


def in_encoding(text: str, encoding: str | None) -> str:
    """Return a text with plain characters instead of the characters that an encoding lacks."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        plain = "".join(_PLAIN.get(character, character) for character in text)
        return plain.encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")
    except LookupError:
        pass
    return text


def _reserve(descriptor: int) -> None:
    """Open /dev/null as this descriptor, unless it is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escapes = (f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return "".join(escapes), error.end
