"""The console script `rnnserve`.

Threads: `limits`.

Public: `__all__`.
"""

from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: The arguments; None for `sys.argv`.
    """
    try:
        # Imported here so that Ctrl-C during these 30 ms also ends the command without a traceback.
        from rnnserve.cli.command_line import run_command_line

        return run_command_line(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
