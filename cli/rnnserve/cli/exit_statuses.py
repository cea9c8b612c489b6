"""The exit statuses of `rnnserve`: for every command, and the meaning of 0 and 1 for some commands."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EVERY", "OF_COMMAND", "exit_statuses", "exit_text"]

EVERY: Mapping[int, str] = MappingProxyType(
    {
        0: "done",
        1: "a mistake in the input, or a failure of the environment; one line on standard error explains it",
        2: "the command line is wrong; nothing was done",
        130: "ended by Ctrl-C",
        141: "the reader of the output ended, as in `rnnserve … | head`",
    }
)
"""Statuses of every command. A defect of rnnserve shows a traceback, with status 1."""

OF_COMMAND: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "verify": {0: "everything was verified", 1: "a check failed, or a file cannot be read"},
        "check": {
            0: "the file computes the same results as the module",
            1: "the results differ, or the file or the module cannot be used",
        },
        "inspect": {
            0: "every version can be used",
            1: "a version cannot be used, there are no versions, or a version is not signed with a given key",
        },
        "serve": {
            0: "ended after SIGTERM or SIGINT (128 plus the signal's number if a second signal ended it at once)",
            1: "it could not start (one line on standard error explains why), or --check found a problem",
        },
        "web": {
            0: "ended after SIGTERM or SIGINT",
            1: "it could not start, or used too much memory",
        },
        "infer": {
            0: "answered",
            1: "no response, or no token with the required role; with --follow, a line was invalid or refused",
        },
        "health": {
            0: "ready, or live with --live",
            1: "not ready, no response, or a token with the required role is missing",
        },
        "load": {
            0: "every request got a response, and every checked response was correct; with --slo, some load meets "
            "the SLO with correct responses",
            1: "all other cases, also if --slo is inconclusive",
        },
    }
)
"""Statuses of a command for which 0 and 1 have a more precise meaning."""


def exit_statuses(command: str) -> dict[int, str]:
    """Return the meaning of each exit status of a command."""
    return {**EVERY, **OF_COMMAND.get(command, {})}


def exit_text(command: str) -> str:
    """Return the end of a command's help, in lines as wide as argparse's."""
    import shutil  # needed only for help, as in argparse
    import textwrap

    width = shutil.get_terminal_size().columns - 2
    lines = [
        textwrap.fill(said, width, initial_indent=f"  {status:<5}", subsequent_indent=" " * 7)
        for status, said in exit_statuses(command).items()
    ]
    return "\n".join(["", "exit status:", *lines, ""])
