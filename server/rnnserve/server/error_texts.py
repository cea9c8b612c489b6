"""Texts of errors: what libraries and callers said, made fit for a message that is sent or logged."""

import re

__all__ = ["cut", "is_of_memory", "one_line", "quoted"]

_MAX_FOREIGN = 300
"""Characters of another library's message that are passed on."""

_MAX_QUOTED = 100
"""Characters of a caller's own text, such as a name, that a message repeats. Beyond it: the rest is cut."""

_MAX_MESSAGE = 4096
"""Bytes of a message of an error, as HTTP/2 carries it. gRPC lets no more than 8 kB of metadata through. Beyond it: the
rest is cut."""

_OF_MEMORY = re.compile(r"bad_alloc|Failed to allocate|out of memory|cannot allocate", re.IGNORECASE)

_PATH = re.compile(
    r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.+@-]+){2,}(?::\d+)?:?|[\w./\\-]+\.(?:cc|cpp|cu|h|hpp|py):\d+:?"
)
"""Paths of the machine that runs or that built a library, and places in its source."""


def is_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or onnxruntime has raised an error for want of memory."""
    return isinstance(error, MemoryError) or _OF_MEMORY.search(str(error)) is not None


def one_line(message: str, most: int = _MAX_FOREIGN) -> str:
    """Make another library's message fit for a caller or a status: one line of at most `most` characters, no paths."""
    line = " ".join(_PATH.sub("", message).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def quoted(text: str) -> str:
    """Put a caller's own text into quotation marks, to repeat it in a message: its beginning, if it is long."""
    if len(text) <= _MAX_QUOTED:
        return f'"{text}"'
    return f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'


def cut(message: str) -> str:
    """The message, or its beginning, as far as it fits. gRPC writes other bytes than plain ASCII as three: %C3."""
    if len(message) <= _MAX_MESSAGE // 12:  # a character is four bytes at most
        return message
    size = kept = 0
    for at, character in enumerate(message):
        if size <= _MAX_MESSAGE - 9:  # as much as the ellipsis takes
            kept = at
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if size > _MAX_MESSAGE:
            return message[:kept] + "…"
    return message
