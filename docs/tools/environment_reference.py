"""The page of the environment: each variable that the help of a command names, and those of the server's options."""

import argparse
import re
from collections.abc import Iterator

from reference_text import cell, table
from rnnserve.cli.command_table import COMMANDS, import_command
from rnnserve.cli.parser import CommandParser
from rnnserve.server.commands.options import OPTIONS

_OF_OPTION = "RNNSERVE_"


def environment() -> Iterator[str]:
    """The page, line by line."""
    yield "# Environment\n"
    yield (
        "Variables that are read. An option of `rnnserve serve` on the command line counts before its variable, and "
        "this before the file of `--config`; a variable that begins with `RNNSERVE_` and is no option is refused by "
        "its name.\n"
    )
    yield "## Of the server's options\n"
    yield "[options.md](options.md) says what each does.\n"
    rows = [(f"`{_OF_OPTION}{one.name.upper()}`", f"`{one.flag}`") for one in OPTIONS]
    yield from table(("variable", "option of `rnnserve serve`"), rows)
    yield "## Of commands\n"
    yield from table(("variable", "commands", "argument", "what it does"), [*_of_commands()])
    yield "With `--traces`, those of OpenTelemetry's SDK count, too: [traces.md](../traces.md#the-trace).\n"


def _of_commands() -> Iterator[tuple[str, str, str, str]]:
    """Variables in the help of arguments: of options of the server, those that are none of its variables."""
    known = {f"{_OF_OPTION}{one.name.upper()}" for one in OPTIONS}
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, entry in COMMANDS.items():
        parser = CommandParser(prog=f"rnnserve {name}", description=entry.help)
        import_command(name, entry).add_arguments(parser)
        formatter = parser._get_formatter()  # noqa: SLF001 - so that the words are those of --help
        for action in parser._actions:  # noqa: SLF001
            if not action.help or action.help is argparse.SUPPRESS:
                continue
            said = " ".join(formatter._expand_help(action).split())  # noqa: SLF001
            for variable in re.findall(rf"\b{_OF_OPTION}[A-Z_]+\b", said):
                if variable not in known:
                    found.setdefault((variable, action.option_strings[0], said), []).append(f"`rnnserve {name}`")
    for (variable, flag, said), commands in found.items():
        yield f"`{variable}`", ", ".join(commands), f"`{flag}`", cell(said)
