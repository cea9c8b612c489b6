"""The standard streams, as they may be: closed, full, without a reader, or in an encoding that lacks characters."""

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
    r"""Make the standard streams usable; return False where standard output is closed and needed.

    A descriptor that is closed is opened on /dev/null. Otherwise the next file, such as one of a model, would get its
    number, and what a library prints would be written into that file. Characters that standard output cannot encode are
    printed as `\uXXXX`, which is right in JSON, too.

    Args:
        needs_output: Whether the command prints results.
    """
    codecs.register_error(_ESCAPES, _escape)
    is_closed = sys.stdout is None
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            _reserve(descriptor)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:  # else it is the caller's
        raw = _Output(sys.stdout.fileno(), "w", closefd=False)
        # By lines where somebody waits for them: a terminal, or PYTHONUNBUFFERED.
        by_lines = sys.stdout.line_buffering or sys.stdout.write_through
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), sys.stdout.encoding, _ESCAPES, line_buffering=by_lines)
    return not (is_closed and needs_output)


class _Output(io.FileIO):
    """Standard output, with the error of the last write: an OSError itself does not say of which file it is.

    Attributes:
        error: The error; None if there was none.
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
    """Write what is left of standard output; return why that is not possible, or was not before; else None."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    except ValueError:  # closed by the program itself
        return None
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Output) else None


def discard_output() -> None:
    """Drop what is left of standard output, which Python would try to write again at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def say(line: str) -> None:
    """Print a line on standard error; where that is not possible, nothing can tell."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # Python would try again at its end, and its exit status would be 120.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays


def in_encoding(text: str, encoding: str | None) -> str:
    """Return a text for people, with plain characters in the place of those that an encoding does not have."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        plain = "".join(_PLAIN.get(character, character) for character in text)
        return plain.encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")
    except LookupError:
        pass
    return text


def _reserve(descriptor: int) -> None:
    """Open /dev/null under a number, unless something is there."""
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
