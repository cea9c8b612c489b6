"""The argument of commands that run ONNX files of others, which may run for ever."""

import argparse

from rnnserve.export.parity import RUN_SECONDS

__all__ = ["add_run_timeout"]


def add_run_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare `--timeout`."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=RUN_SECONDS,
        metavar="SECONDS",
        help="how long onnxruntime may take to load the file, and for each run of it (default %(default)g)",
    )
