"""How a field of the settings is an option of `rnnserve serve`: its help, and how its text is read."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from rnnserve.protos.names import is_model_name

__all__ = ["Option", "option", "read_count", "read_model_name", "read_period", "read_port", "read_seconds"]


@dataclasses.dataclass(frozen=True)
class Option:
    """How a field appears on the command line: as `--max-queue` for `max_queue`.

    Attributes:
        help: What the option does, for `--help`.
        parse: Turns the argument's text into the field's value; raises ValueError with a message for the user.
        choices: The values that are accepted; empty for any that `parse` accepts.
        metavar: The argument's name in `--help`.
        is_positional: Whether the option is given by its place instead of by its name.
        is_repeated: Whether it may be given several times: the field is a tuple.
    """

    help: str
    parse: Callable[[str], object] = str
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    is_positional: bool = False
    is_repeated: bool = False


def read_model_name(text: str) -> str:
    """Read the name of a model.

    Raises:
        ValueError: If a model may not have it; the message is for the user.
    """
    if not is_model_name(text):
        raise ValueError(f"{text!r} is not a model's name: letters, digits, _, . and -, not beginning with . or -")
    return text


def read_port(text: str) -> int:
    """Read a port.

    Raises:
        ValueError: If the text is none; the message is for the user.
    """
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise ValueError(f"{text!r} is not a port: 0 to 65535")
    return port


def read_count(text: str) -> int:
    """Read a number of 1 or more.

    Raises:
        ValueError: If the text is none; the message is for the user.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{text!r} is not a number of 1 or more")
    return int(text)


def read_seconds(text: str) -> float:
    """Read a number of seconds, 0 or more.

    Raises:
        ValueError: If the text is none; the message is for the user.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is not a number of seconds")
    return seconds


def read_period(text: str) -> float:
    """Read a number of seconds above 0.

    Raises:
        ValueError: If the text is none; the message is for the user.
    """
    seconds = read_seconds(text)
    if not seconds:
        raise ValueError("0 is not a number of seconds between two looks")
    return seconds


def option(
    help: str,
    parse: Callable[[str], object] = str,
    *,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
    is_positional: bool = False,
    is_repeated: bool = False,
) -> Mapping[str, Option]:
    """Metadata of a field that is an option."""
    return {"option": Option(help, parse, choices, metavar, is_positional, is_repeated)}
