"""The argument of commands that run ONNX files of others, which may run for ever."""

import argparse
import math

from rnnserve.export.run_seconds import RUN_SECONDS

__all__ = ["add_run_timeout"]


def add_run_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare `--timeout`."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=RUN_SECONDS,
        metavar="SECONDS",
        help="how long onnxruntime may take to load the file, and for each run of it (default %(default)g)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
