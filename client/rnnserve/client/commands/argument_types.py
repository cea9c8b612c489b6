"""Parse numbers on a command line. Imports no gRPC, so that `rnnserve health` starts fast."""

import argparse
import math

__all__ = ["parse_number", "parse_seconds"]

_MAX_SECONDS = 1_000_000.0


def parse_seconds(text: str) -> float:
    """Parse seconds above 0. May raise ArgumentTypeError."""
    number = parse_number(text)
    if not 0 < number <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to {_MAX_SECONDS:,.0f}")
    return number


def parse_number(text: str) -> float:
    """Parse a number. Returns NaN if the text isn't a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
