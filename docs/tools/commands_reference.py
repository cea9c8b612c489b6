"""The parts of the reference about commands: their arguments, and their exit statuses."""

import argparse
import re
from collections.abc import Iterator

from reference_text import cell, paragraphs, table
from rnnserve.cli.command_table import COMMANDS, import_command
from rnnserve.cli.exit_statuses import EVERY, OF_COMMAND
from rnnserve.cli.parser import CommandParser

_SHARED = ("infer", "health", "load")
"""Commands of clients. Arguments that all of them have with the same help are listed once."""


def commands() -> Iterator[str]:
    """Yield a table of the commands, and a section for each."""
    yield from table(
        ("command", "what it does", "extra"),
        [
            (f"[`rnnserve {name}`](#rnnserve-{name})", cell(entry.help), f"`{entry.extra}`" if entry.extra else "-")
            for name, entry in COMMANDS.items()
        ],
    )
    parsers = {}
    for name, entry in COMMANDS.items():
        parsers[name] = CommandParser(prog=f"rnnserve {name}", description=entry.help)
        import_command(name, entry).add_arguments(parsers[name])
    shared = set.intersection(*({*_rows(parsers[name])} for name in _SHARED))
    yield "## Options of clients\n"
    yield f"{', '.join(f'`rnnserve {name}`' for name in _SHARED)} have these options in common.\n"
    yield from [row for row in _rows(parsers[_SHARED[0]]) if row in shared]
    yield ""
    for name, parser in parsers.items():
        yield from _section(parser, "##", shared if name in _SHARED else set(), COMMANDS[name].help)


def _section(parser: argparse.ArgumentParser, level: str, shared: set[str], known: str = "") -> Iterator[str]:
    """Yield a command's usage, its arguments group by group, and other texts, but no known description or examples."""
    places = [_named(action) for action in _actions(parser) if not action.option_strings]
    yield f"{level} `{parser.prog}`\n"
    yield f"`{' '.join([parser.prog, '[options]', *places])}`\n"
    yield from paragraphs("" if parser.description == known else parser.description or "")
    for group in parser._action_groups:  # noqa: SLF001 - argparse has no other way to list them
        rows = [row for action in group._group_actions for row in _row(parser, action) if row not in shared]  # noqa: SLF001
        if rows and group.title not in ("positional arguments", "options"):
            said = cell(" ".join((group.description or f"{group.title}:").split()))
            yield f"{said[0].upper()}{said[1:]}\n"
        yield from rows
        if rows:
            yield ""
    yield from paragraphs(re.sub(r"^examples:\n( .*\n?|\n)+", "", parser.epilog or "", flags=re.MULTILINE))
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for part in action.choices.values():
                yield from _section(part, f"{level}#", shared)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse has no other way to list them


def _rows(parser: argparse.ArgumentParser) -> list[str]:
    return [row for action in _actions(parser) for row in _row(parser, action)]


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """Yield an argument's line, unless it has no help or is `--help`."""
    if action.help and action.help is not argparse.SUPPRESS and action.dest != "help":
        formatter = parser._get_formatter()  # noqa: SLF001 - the words of --help
        said = " ".join(formatter._expand_help(action).split())  # noqa: SLF001
        said = re.sub(r"\. Beyond it: .*?(?= \(default|$)", "", said)  # the limits have this part
        value = _named(action)
        flags = [f"{flag} {value}".strip() for flag in action.option_strings] or [value.strip("[]")]
        yield f"- {', '.join(f'`{flag}`' for flag in flags)}: {cell(said)}"


def _named(action: argparse.Action) -> str:
    """Return the placeholder of an argument's value."""
    if action.nargs == 0:
        return ""
    names = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
    chosen = "|".join(map(str, action.choices)) if action.choices else ""
    name = " ".join(one or chosen or action.dest.upper() for one in names)
    if action.nargs in ("*", "+", argparse.REMAINDER):
        name += " …"
    return f"[{name}]" if action.nargs in ("?", "*") else name


def exit_statuses() -> Iterator[str]:
    """Yield a table of the exit statuses, and one of the commands for which 0 and 1 say more."""
    yield from table(("status", "meaning"), [(str(status), cell(said)) for status, said in EVERY.items()])
    rows = [(f"`{command}`", cell(statuses[0]), cell(statuses[1])) for command, statuses in OF_COMMAND.items()]
    yield from table(("command", "0", "1"), rows)
