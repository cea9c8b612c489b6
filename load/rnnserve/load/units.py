"""Format durations, rates and other numbers as text, and parse them."""

import argparse
import re

from rnnserve.client.commands.argument_types import parse_number, parse_seconds

__all__ = [
    "format_duration",
    "format_rate",
    "format_share",
    "parse_confidence",
    "parse_count",
    "parse_counts",
    "parse_duration",
    "parse_natural",
    "parse_nonnegative_seconds",
    "parse_rates",
    "parse_think_time",
]

_NANOSECONDS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_DURATION = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>us|µs|ms|s)")
_MAX_RATE = 1_000_000.0


def format_duration(nanoseconds: float) -> str:
    """Return a duration with three significant digits: `"1.23 ms"`."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= 0.9995 * size:
            return f"{_three_digits(nanoseconds / size)} {unit}"
    return f"{_three_digits(nanoseconds / 1e3)} µs"


def format_rate(rate: float) -> str:
    """Return a rate per second, without its unit: `"1,200"`, `"2.5"`."""
    return f"{rate:,.0f}" if rate >= 100 or rate == round(rate) else f"{rate:.1f}"


def format_share(share: float) -> str:
    """Return a share with two significant digits: `"0.42%"`."""
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.3g}%"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def parse_duration(text: str) -> int:
    """Parse a duration with its unit, `500us`, `5ms` or `0.2s`. Returns nanoseconds."""
    match = _DURATION.fullmatch(text.strip())
    nanoseconds = round(float(match["number"]) * _NANOSECONDS[match["unit"]]) if match else 0
    if nanoseconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration above 0, such as 500us, 5ms or 0.2s")
    return nanoseconds


def parse_think_time(text: str) -> float:
    """Parse a duration, which may be 0. Returns seconds."""
    return 0.0 if text.strip() == "0" else parse_duration(text) / 1e9


def parse_nonnegative_seconds(text: str) -> float:
    """Parse seconds, 0 or more."""
    return 0.0 if parse_number(text) == 0 else parse_seconds(text)


def parse_natural(text: str) -> int:
    """Parse an integer of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


def parse_count(text: str) -> int:
    """Parse an integer of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def parse_counts(text: str) -> list[int]:
    """Parse comma-separated integers of at least 1."""
    return [parse_count(part.strip()) for part in text.split(",")]


def parse_confidence(text: str) -> float:
    """Parse a confidence above 0.5 and below 1: `0.99` or `99%`."""
    number = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0.5 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a confidence above 0.5 and below 1, such as 0.99 or 99%")
    return number


def parse_rates(text: str) -> list[float]:
    """Parse comma-separated rates, in requests per second."""
    numbers = [parse_number(part) for part in text.split(",")]
    if not all(0 < number <= _MAX_RATE for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of rates above 0 and up to {_MAX_RATE:,.0f}, such as 100 or 100,200,400"
        )
    return numbers
