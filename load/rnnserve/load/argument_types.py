"""Types of the load test's arguments: from text to numbers, with messages that state what was expected."""

import math
from typing import Literal

from rnnserve.client import InvalidRequest
from rnnserve.client.commands.argument_types import parse_number, parse_seconds

__all__ = [
    "parse_confidence",
    "parse_count",
    "parse_counts",
    "parse_nonnegative_seconds",
    "parse_positive",
    "parse_processes",
    "parse_rates",
    "parse_seed",
    "parse_sweep",
]

_MAX_LOADS = 1000
_MAX_RATE = 1_000_000.0
_RANGE = "above 0 and at most 1,000,000"


def parse_nonnegative_seconds(text: str) -> float:
    """Parse seconds, 0 or more."""
    return 0.0 if parse_number(text) == 0 else parse_seconds(text)


def parse_count(text: str) -> int:
    """Parse an integer of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InvalidRequest(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def parse_seed(text: str) -> int:
    """Parse a seed, an integer of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def parse_positive(text: str) -> float:
    """Parse a number above 0."""
    number = parse_number(text)
    if not 0 < number < math.inf:
        raise InvalidRequest(f"{text!r} is not a number above 0")
    return number


def parse_confidence(text: str) -> float:
    """Parse a confidence: a probability above 0.5 and below 1, or percent: `"0.99"`, `"99%"`."""
    number = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0.5 < number < 1:
        raise InvalidRequest(f"{text!r} is not a confidence above 0.5 and below 1: 0.99, or 99%")
    return number


def parse_processes(text: str) -> int | Literal["auto"]:
    """Parse a number of processes, or `"auto"`."""
    return "auto" if text == "auto" else parse_count(text)


def parse_counts(text: str) -> list[int]:
    """Parse comma-separated integers of at least 1."""
    return [parse_count(part.strip()) for part in text.split(",")]


def parse_rates(text: str) -> list[float]:
    """Parse comma-separated rates, requests per second."""
    numbers = [parse_number(part) for part in text.split(",")]
    if not all(0 < number <= _MAX_RATE for number in numbers):
        raise InvalidRequest(
            f"{text!r}: expected requests per second, {_RANGE}: one rate (100) or several (100,200,400)"
        )
    return numbers


def parse_sweep(text: str) -> list[float]:
    """Parse `FROM:TO:STEP` into rates; the last rate is TO, even if the steps do not reach it exactly."""
    parts = [parse_number(part) for part in text.split(":")]
    if len(parts) != 3 or not 0 < parts[0] <= parts[1] <= _MAX_RATE or not 0 < parts[2] < math.inf:
        raise InvalidRequest(
            f"{text!r}: expected FROM:TO:STEP, such as 500:4000:500, with FROM not above TO; rates are {_RANGE}"
        )
    first, last, step = parts
    steps = int((last - first) / step + 1e-9)
    if steps >= _MAX_LOADS:
        raise InvalidRequest(f"{text!r} makes {steps + 1:,} loads; at most {_MAX_LOADS:,} are allowed")
    numbers = [first + index * step for index in range(steps + 1)]
    return numbers if last - numbers[-1] <= step * 1e-6 else [*numbers, last]
