"""The parser of the whole program, with every command whose packages are installed."""

import argparse
import importlib

from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.global_arguments import global_parser
from rnnserve.cli.parser import CommandParser

__all__ = ["every_parser"]


def every_parser() -> CommandParser:
    """Import each command's module and declare its arguments. Commands that lack a package are left out.

    None of the modules imports torch. Commands import it when they run.
    """
    parser, commands = global_parser()
    for name, entry in COMMANDS.items():
        try:
            module = importlib.import_module(entry.module)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.startswith("rnnserve"):
                raise  # a defect, as in `import_command`
            continue
        command: argparse.ArgumentParser = commands.add_parser(name, help=entry.help)
        module.add_arguments(command)
    return parser
