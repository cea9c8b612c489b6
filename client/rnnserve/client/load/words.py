"""Words of a command line into numbers, with messages that say what was expected."""

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from rnnserve.client.errors import InvalidRequest

__all__ = ["count", "counts", "rates", "seconds", "seconds_or_none", "sweep", "word"]

T = TypeVar("T")

_MOST_LOADS = 1000
_HIGHEST = 1_000_000.0
_RANGE = "above 0 and at most 1,000,000"


def word(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show the message of the library's own errors."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except InvalidRequest as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def seconds(text: str) -> float:
    """Read seconds above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise InvalidRequest(f"{text!r} is no number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """Read seconds, 0 among them."""
    return 0.0 if _number(text) == 0 else seconds(text)


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InvalidRequest(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def counts(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    return [count(part.strip()) for part in text.split(",")]


def rates(text: str) -> list[float]:
    """Read rates with commas between them."""
    numbers = [_number(part) for part in text.split(",")]
    if not all(0 < number <= _HIGHEST for number in numbers):
        raise InvalidRequest(f"{text!r}: expected requests a second, {_RANGE}: one rate (100) or several (100,200,400)")
    return numbers


def sweep(text: str) -> list[float]:
    """Read `FROM:TO:STEP`; both ends are among the rates, whether or not the step leads to the last."""
    parts = [_number(part) for part in text.split(":")]
    if len(parts) != 3 or not 0 < parts[0] <= parts[1] <= _HIGHEST or not 0 < parts[2] < math.inf:
        raise InvalidRequest(
            f"{text!r}: expected FROM:TO:STEP, such as 500:4000:500, FROM not above TO; rates are {_RANGE}"
        )
    first, last, step = parts
    steps = int((last - first) / step + 1e-9)
    if steps >= _MOST_LOADS:
        raise InvalidRequest(f"{text!r} makes {steps + 1:,} loads; at most {_MOST_LOADS:,}")
    numbers = [first + index * step for index in range(steps + 1)]
    return numbers if last - numbers[-1] <= step * 1e-6 else [*numbers, last]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
