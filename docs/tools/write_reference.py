"""Write the pages of docs/reference/ that say what the code says; `PAGES` has them.

`python docs/tools/write_reference.py` writes them, and `--check` fails where one differs from the code.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artifact_reference import artifact
from environment_reference import environment
from errors_reference import errors_of_server
from limits_reference import limits
from metrics_reference import metrics
from protocol_reference import protocol
from reference_text import cell
from rest_reference import rest
from rnnserve.cli.command_table import COMMANDS, import_command
from rnnserve.cli.exit_statuses import EVERY, OF_COMMAND
from rnnserve.cli.parser import CommandParser
from rnnserve.server.commands.options import OPTIONS, DeclaredOption

FOLDER = Path(__file__).parents[1] / "reference"

_COLUMNS = 100
"""Width of signatures, in characters."""


def commands() -> Iterator[str]:
    """The page of the commands, line by line."""
    yield "# Commands\n"
    yield "The commands of `rnnserve`, and their arguments, as the `--help` of each says them.\n"
    yield "| command | what it does | needs the extra |\n| --- | --- | --- |"
    for name, entry in COMMANDS.items():
        yield f"| [`rnnserve {name}`](#rnnserve-{name}) | {entry.help} | {f'`{entry.extra}`' if entry.extra else '-'} |"
    for name, entry in COMMANDS.items():
        parser = CommandParser(prog=f"rnnserve {name}", description=entry.help)
        import_command(name, entry).add_arguments(parser)
        yield from _command(parser)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A command's arguments, group by group. Not its help, which argparse sets out anew in each release of Python."""
    formatter = parser._get_formatter()  # noqa: SLF001 - so that the words are those of --help
    places = [_named(action) for action in parser._actions if not action.option_strings]  # noqa: SLF001
    yield f"\n## `{parser.prog}`\n\n```text\n{' '.join([parser.prog, '[options]', *places])}\n```\n"
    said = (parser.description or "").strip()
    yield f"```text\n{said}\n```\n" if "\n" in said else f"{cell(said)}\n"
    for group in parser._action_groups:  # noqa: SLF001
        actions = [one for one in group._group_actions if one.help and one.help is not argparse.SUPPRESS]  # noqa: SLF001
        if not actions or [one.dest for one in actions] == ["help"]:
            continue
        if group.title not in ("positional arguments", "options"):
            yield f"{cell(' '.join((group.description or f'{group.title}:').split()))}\n"
        yield "| argument | what it does |\n| --- | --- |"
        for one in actions:
            if one.dest != "help":
                said = " ".join(formatter._expand_help(one).split())  # noqa: SLF001
                yield f"| {', '.join(f'`{flag}`' for flag in _flags(one))} | {cell(said)} |"
        yield ""
    if parser.epilog:
        yield f"```text\n{parser.epilog.strip()}\n```"


def _named(action: argparse.Action) -> str:
    """How an argument's value is called."""
    if action.nargs == 0:
        return ""
    names = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
    chosen = "|".join(map(str, action.choices)) if action.choices else ""
    name = " ".join(one or chosen or action.dest.upper() for one in names)
    several = action.nargs in ("*", "+", argparse.REMAINDER)
    return (
        f"{name}{' …' if several else ''}" if action.nargs not in ("?", "*") else f"[{name}{' …' if several else ''}]"
    )


def _flags(action: argparse.Action) -> list[str]:
    value = _named(action)
    if not action.option_strings:
        return [value.strip("[]")]
    return [f"{flag} {value}".strip() for flag in action.option_strings]


def options() -> Iterator[str]:
    """The page of the options of `rnnserve serve`, line by line."""
    yield "# Options of the server\n"
    yield (
        "Each option of `rnnserve serve` is given on the command line, by a variable of the environment, or by a key "
        "of the file that `--config` names, in that order; `rnnserve serve --print-config` shows each value and where "
        "it is from ([serving.md](../serving.md)). An unknown variable or key is refused by its name.\n"
    )
    yield "| option | variable | key | default | what it does |\n| --- | --- | --- | --- | --- |"
    for declared in OPTIONS:
        variable = f"RNNSERVE_{declared.name.upper()}"
        yield (
            f"| `{declared.flag}` | `{variable}` | `{declared.name}` | {_default(declared)} "
            f"| {cell(declared.option.help)}{_choices(declared)} |"
        )


def _default(declared: DeclaredOption) -> str:
    if declared.is_switch:
        return "off" if declared.default is False else "on"
    return "-" if declared.default in (None, (), "") else f"`{declared.default}`"


def _choices(declared: DeclaredOption) -> str:
    return f": {', '.join(f'`{choice}`' for choice in declared.option.choices)}" if declared.option.choices else ""


def exit_statuses() -> Iterator[str]:
    """The page of the exit statuses, line by line."""
    yield "# Exit statuses\n"
    yield "What the exit status of each command means. The help of each (`--help`) ends with the same.\n"
    yield "| status | means |\n| --- | --- |"
    for status, said in EVERY.items():
        yield f"| {status} | {cell(said)} |"
    yield "\nA defect of rnnserve shows a traceback, with status 1.\n\n## Where 0 and 1 say more\n"
    yield "| command | 0 | 1 |\n| --- | --- | --- |"
    for command, statuses in OF_COMMAND.items():
        yield f"| `{command}` | {cell(statuses[0])} | {cell(statuses[1])} |"


def public_names() -> Iterator[str]:
    """The page of the public Python names, line by line."""
    yield "# Python\n"
    yield "What `rnnserve.export`, `rnnserve.server` and `rnnserve.client` name in `__all__`. All else may change.\n"
    for area in ("export", "server", "client"):
        module = importlib.import_module(f"rnnserve.{area}")
        yield f"## `rnnserve.{area}`\n"
        for name in sorted(module.__all__, key=str.lower):
            yield from _described(name, getattr(module, name), "###")


def _described(name: str, what: Any, level: str) -> Iterator[str]:  # noqa: ANN401 - any public name
    """A heading, a signature and a docstring; of a class also its public methods."""
    yield f"{level} `{name}`\n"
    signature = _signature(what)
    if signature:
        yield f"```text\n{_wrapped(name.rsplit('.', 1)[-1] + signature)}\n```\n"
    yield _docstring(what)
    if isinstance(what, type) and not issubclass(what, BaseException):
        yield from (_docstring(base) for base in _with_fields(what) if base is not what)
        for member, value in vars(what).items():
            if not member.startswith("_") and callable(getattr(value, "__func__", value)) and _docstring(value):
                yield from _described(f"{name}.{member}", getattr(value, "__func__", value), level + "#")


def _signature(what: Any) -> str:  # noqa: ANN401
    """The parameters as the source has them: what `inspect` makes of them differs between releases of Python."""
    if isinstance(what, type) and issubclass(what, BaseException):
        return ""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(what))).body
    if isinstance(node, ast.ClassDef):
        made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if made is None and dataclasses.is_dataclass(what):
            return f"({', '.join(_fields(what))})"
        if made is None:
            return f"({', '.join(ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign))})"
        node = made
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101 - public names are one or the other
    returned = f" -> {ast.unparse(node.returns)}" if node.returns is not None and node.name != "__init__" else ""
    return re.sub(r"(?<=: )'([^']+)'", r"\1", f"({ast.unparse(node.args)}){returned}").replace("=", " = ")


def _fields(what: Any) -> Iterator[str]:  # noqa: ANN401 - the class of a dataclass
    """The fields of a dataclass and of its bases as arguments of a call, as the sources have them."""
    written: dict[str, ast.AnnAssign] = {}
    for kind in _with_fields(what):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(node, ast.ClassDef)  # noqa: S101 - the source of a class
        written |= {ast.unparse(one.target): one for one in node.body if isinstance(one, ast.AnnAssign)}
    by_place: list[str] = []
    by_name: list[str] = []
    for field in dataclasses.fields(what):
        said = written[field.name]
        argument = f"{field.name}: {ast.unparse(said.annotation)}{_default_in(said.value)}"
        (by_name if field.kw_only else by_place).append(argument)
    yield from (*by_place, *(["*", *by_name] if by_name else []))


def _default_in(value: ast.expr | None) -> str:
    """A field's default: its own, or the one that `dataclasses.field` is given."""
    given = {one.arg: one.value for one in value.keywords} if isinstance(value, ast.Call) else {}
    if "default_factory" in given:
        return f" = {ast.unparse(given['default_factory'])}()"
    value = given.get("default", value)
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "option":  # of `rnnserve.server.settings`
        value = value.args[1]
    return "" if value is None else f" = {ast.unparse(value)}"


def _with_fields(what: type) -> list[type]:
    """A dataclass and those of its bases that have fields of their own, in the order of the fields."""
    return [kind for kind in reversed(what.__mro__) if dataclasses.is_dataclass(kind) and inspect.get_annotations(kind)]


def _wrapped(call: str) -> str:
    """A call, one parameter a line where it is long."""
    if len(call) <= _COLUMNS:
        return call
    head, _, rest = call.partition("(")
    parts, depth = [""], 0
    for letter in rest:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        elif depth < 0:
            break
        else:
            parts[-1] += letter
    after = rest[sum(map(len, parts)) + len(parts) - 1 :]
    return "\n".join([f"{head}(", *(f"    {part.strip()}," for part in parts), after])


def _docstring(what: Any) -> str:  # noqa: ANN401
    """A docstring as a block of text: indentation and reStructuredText would else be read as Markdown."""
    text = what.__doc__ and inspect.cleandoc(what.__doc__)
    made = vars(what).get("__init__") if isinstance(what, type) else None
    if made is not None and made.__doc__ and "Args:" in made.__doc__:
        text = f"{text}\n\n{inspect.cleandoc(made.__doc__)}"
    return f"```text\n{text}\n```\n" if text else ""


PAGES: MappingProxyType[str, Callable[[], Iterator[str]]] = MappingProxyType(
    {
        "commands.md": commands,
        "options.md": options,
        "environment.md": environment,
        "errors.md": errors_of_server,
        "exit-statuses.md": exit_statuses,
        "python.md": public_names,
        "artifact.md": artifact,
        "limits.md": limits,
        "metrics.md": metrics,
        "protocol.md": protocol,
        "rest.md": rest,
    }
)


def main() -> int:
    """Write the pages, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    args = parser.parse_args()
    stale = []
    for name, lines in PAGES.items():
        page, text = FOLDER / name, "\n".join(lines()).rstrip() + "\n"
        if not args.check:
            page.write_text(text, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"docs/reference differs from the code in {', '.join(stale)}: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
