"""Parse command-line arguments into numbers, with messages that contain the expected form."""

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from rnnserve.client.errors import InvalidRequest

__all__ = ["argument_type", "parse_number", "parse_seconds"]

T = TypeVar("T")

_MAX_SECONDS = 1_000_000.0


def argument_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a `type=` for argparse that shows the messages of `InvalidRequest` to the user."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except InvalidRequest as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument


def parse_seconds(text: str) -> float:
    """Parse seconds above 0."""
    number = parse_number(text)
    if not 0 < number < math.inf:
        raise InvalidRequest(f"{text!r} is not a number of seconds above 0")
    if number > _MAX_SECONDS:
        raise InvalidRequest(f"{text!r} is too long: give {_MAX_SECONDS:,.0f} seconds at most")
    return number


def parse_number(text: str) -> float:
    """Parse a number. Returns NaN if the text isn't a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
