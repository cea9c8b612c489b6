"""Arguments before or instead of a command: --help, --version, and mistakes."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.parser import CommandParser, closest

__all__ = ["global_parser", "read_global_arguments"]

_FORMER = {
    "doctor": "use `rnnserve serve --check`",
    "size": "divide your rate by the highest rate from `rnnserve load --slo`, round up, and add one server",
}
"""Removed commands, and what to use instead."""

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[CommandParser]  # noqa: SLF001 - a name for a type, which has no other


def global_parser() -> "tuple[CommandParser, _Commands]":
    """Make the parser of the global arguments, and its object to add commands to."""
    parser = CommandParser(
        prog="rnnserve",
        description="From any trained recurrent PyTorch module to a verified ONNX artifact and a gRPC service.",
        epilog="`rnnserve COMMAND --help` explains a command.",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    return parser, parser.add_subparsers(title="commands", metavar="COMMAND")


def read_global_arguments(arguments: Sequence[str]) -> NoReturn:
    """Handle a command line that doesn't begin with a command.

    Raises:
        SystemExit: Always. The status is 2 if the command line is wrong.
    """
    parser, commands = global_parser()
    for name, entry in COMMANDS.items():
        commands.add_parser(name, help=entry.help)
    if not arguments:
        parser.error(f"the command is missing; expected one of {', '.join(COMMANDS)}")
    first = arguments[0]
    if first in ("-h", "--help", "--version"):
        parser.parse_args([first])
    command = next((word for word in arguments if word in COMMANDS), None)
    if not first.startswith("-"):
        meant = closest(first, COMMANDS)
        suggestion = f"did you mean {meant}?" if meant else f"there are {', '.join(COMMANDS)}"
        suggestion = _FORMER.get(first, suggestion)
        parser.error(f"there is no command {first!r}; {suggestion}")
    if command is not None:
        at = arguments.index(command)
        words = " ".join([command, *arguments[at + 1 :], *arguments[:at]])
        parser.error(f"{first} must follow the command: `rnnserve {words}`")
    parser.error(parser.unknown(arguments))


class _Version(argparse.Action):
    """Prints the version. Finding it takes 20 ms, because `importlib.metadata` imports an e-mail parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it and end."""
        from importlib.metadata import version

        print(f"rnnserve {version('rnnserve')}")
        parser.exit()
