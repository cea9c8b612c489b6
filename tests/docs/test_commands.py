"""Every command line of README.md and docs/ has commands, options, targets and extras that exist."""

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.page_sessions import blocks, without_blocks
from kit.paths import ROOT
from rnnserve.cli import main
from rnnserve.cli.parser import CommandParser

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

COMMANDS = {"make", "rnnserve", ".venv/bin/rnnserve", "pip", ".venv/bin/pip"}


class Parsed(Exception):
    """argparse accepted the command line."""


def in_blocks(text: str) -> Iterator[str]:
    """The lines of shell blocks that may be commands: those after `$ ` where a block has any, all of them elsewhere."""
    for block in blocks(text):
        if block.is_of_shell:
            lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
            yield from [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines


def in_prose(text: str) -> Iterator[str]:
    yield from re.findall(r"`((?:\.venv/bin/)?(?:make|rnnserve|pip) [^`\n]+)`", without_blocks(text))


def commands(lines: Iterator[str]) -> Iterator[tuple[str, ...]]:
    """The words of each command of `lines` that is one of `COMMANDS`; pipes and `&&` part commands."""
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        try:
            words = [*lexer, ";"]
        except ValueError:  # an open quote: output, not a command
            continue
        command: list[str] = []
        for word in words:
            if not set(word) <= set("|&;<>"):
                command.append(word)
                continue
            if word.startswith(">") and command and command[-1].isdigit():
                command.pop()  # 2> of standard error
            if command and command[0] in COMMANDS:
                yield tuple(command)
            command = []


def of(program: str, *finders: Callable[[str], Iterator[str]]) -> list[tuple[str, ...]]:
    """The documentation's commands of this program, each once."""
    found = (words for find in finders for path in DOCUMENTS for words in commands(find(path.read_text())))
    return list(dict.fromkeys(words for words in found if Path(words[0]).name == program))


@pytest.mark.parametrize("program", ["make", "rnnserve", "pip"])
def test_the_documentation_shows_commands(program):
    assert of(program, in_blocks, in_prose)


@pytest.mark.parametrize("words", of("make", in_blocks, in_prose), ids=" ".join)
def test_make_has_the_targets_and_variables(words):
    for word in words[1:]:
        name, assigned, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} \?=" if assigned else rf"^{re.escape(name)}:"
        assert re.search(pattern, MAKEFILE, re.MULTILINE), f"the Makefile has no {name}"


@pytest.mark.parametrize("words", of("rnnserve", in_blocks), ids=" ".join)
def test_argparse_accepts_the_command_line(words, monkeypatch, capsys):
    parse_args = CommandParser.parse_args

    def parse_only(parser, args):
        parse_args(parser, args)
        raise Parsed

    monkeypatch.setattr(CommandParser, "parse_args", parse_only)
    with pytest.raises((Parsed, SystemExit)) as ended:
        main(words[1:])
    assert getattr(ended.value, "code", 0) == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", of("rnnserve", in_prose), ids=" ".join)
def test_commands_of_the_prose_have_the_options(words, capsys):
    """Such a line may leave out what the command requires."""
    command, *arguments = words[1:]
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"] if command.isalpha() else ["--help"])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", printed.out))


@pytest.mark.parametrize("words", of("pip", in_blocks, in_prose), ids=" ".join)
def test_the_package_has_the_extras(words):
    for extras in re.findall(r"^(?:rnnserve|\.)\[(.+)\]$", "\n".join(words), re.MULTILINE):
        assert set(extras.split(",")) <= EXTRAS.keys()
