"""Every block of the documentation is run or says what it is. Every command line names what exists."""

import re
import shlex
import tomllib

import pytest

from kit.page_sessions import PAGES, SHELL, Command, File, blocks, steps, without_blocks
from kit.paths import ROOT
from rnnserve.cli import main
from rnnserve.cli.parser import CommandParser


class Parsed(Exception):
    """argparse accepted the command line."""


def command_lines(program, *, in_prose):
    """The words of each of a program's commands in the documentation. Pipes and `&&` part commands."""
    found = []
    for page in PAGES.values():
        if in_prose:
            lines = re.findall(rf"`((?:\.venv/bin/)?{program} [^`\n]+)`", without_blocks(page))
        else:
            lines = [step.line for step in steps(page) if isinstance(step, Command)]
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("|&;<>"):
                    words.append(word)
                    continue
                if word.startswith(">") and words and words[-1].isdigit():
                    words.pop()  # 2> of standard error
                if words and words[0].rpartition("/")[2] == program:
                    found.append(words)
                words = []
    return found


def test_every_block_is_run_or_marked_with_the_reason():
    for name, page in PAGES.items():
        found = list(steps(page))
        typed = "\n".join(step.line for step in found if isinstance(step, Command))
        files = {step.name: step.text for step in found if isinstance(step, File)}
        for language, text in blocks(page):
            if language in SHELL:
                assert text.startswith("$ "), f"{name}: a block without commands is `text`"
            elif language not in ("python", "text"):
                assert text in files.values(), f"{name}: a block of another language is a file"
        for file in files:
            is_imported = any(f"from {file.removesuffix('.py')} import" in text for text in files.values())
            assert file in typed or is_imported, f"{name}: {file} is not used"
        fences = re.findall(r"^[ >\t]*(?:`{3,}|~{3,})[ \t]*(?:python|py)\b.*$", page, re.MULTILINE)
        assert set(fences) <= {"```python"}, f"{name}: a block whose fence says more than `python` is not run"


def test_documented_make_targets_and_variables_exist():
    makefile = (ROOT / "Makefile").read_text()
    lines = [*command_lines("make", in_prose=False), *command_lines("make", in_prose=True)]
    assert lines
    for words in lines:
        for word in words[1:]:
            name, assigned, _ = word.partition("=")
            pattern = rf"^{re.escape(name)} \?=" if assigned else rf"^{re.escape(name)}:"
            assert re.search(pattern, makefile, re.MULTILINE), f"{words}: the Makefile has no {name}"


def test_documented_command_lines_are_accepted(monkeypatch, capsys):
    parse_args = CommandParser.parse_args

    def parse_only(parser, args):
        parse_args(parser, args)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(CommandParser, "parse_args", parse_only)
        lines = command_lines("rnnserve", in_prose=False)
        assert lines
        for words in lines:
            with pytest.raises((Parsed, SystemExit)) as ended:
                main(words[1:])
            assert getattr(ended.value, "code", 0) == 0, (words, capsys.readouterr().err)
    for _, command, *arguments in filter(lambda words: len(words) > 1, command_lines("rnnserve", in_prose=True)):
        with pytest.raises(SystemExit):
            main([command, "--help"] if command.isalpha() else ["--help"])
        options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)), (command, arguments)


def test_documented_pip_commands_name_existing_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [*command_lines("pip", in_prose=False), *command_lines("pip", in_prose=True)]
    assert lines
    for words in lines:
        for named in re.findall(r"^(?:rnnserve|\.)\[(.+)\]$", "\n".join(words), re.MULTILINE):
            assert set(named.split(",")) <= extras.keys(), words
