"""A misspelled command, option or choice gets one sentence, with the likely intention."""

import argparse

import pytest

from rnnserve.cli import main
from rnnserve.cli.command_table import COMMANDS, import_command
from rnnserve.cli.parser import CommandParser


def parser_of(command):
    parser = CommandParser(prog=f"rnnserve {command}")
    import_command(command, COMMANDS[command]).add_arguments(parser)
    return parser


def shown_options(parser):
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return [option for action in shown for option in action.option_strings if option.startswith("--")]


def misspelled(word):
    """Misspell a word: with two letters swapped, with one doubled and, unless it is short, with one left out."""
    at = max(2, len(word) // 2)
    swapped = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
    doubled = word[:at] + word[at] + word[at:]
    return {swapped, doubled, *([word[:at] + word[at + 1 :]] if len(word) > 5 else [])} - {word}


def test_misspelled_command_or_option_gets_a_suggestion(capsys):
    for command in COMMANDS:
        parser = parser_of(command)
        for option in shown_options(parser):
            for typo in misspelled(option):
                assert parser.unknown([typo, "x"]) == f"there is no option {typo}; did you mean {option}?"
        for typo in misspelled(command):
            with pytest.raises(SystemExit) as ended:
                main([typo])
            assert ended.value.code == 2
            assert f"there is no command {typo!r}; did you mean {command}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the command is missing; expected one of demo, train, export"),
        (["--html", "x", "load"], "--html must follow the command: `rnnserve load -"),
        (["--verison"], "did you mean --version?"),
        (["serve"], "missing: REPOSITORY"),
        (["serve", "x", "--prot", "1"], "there is no option --prot; did you mean --grpc-port?"),
        (["serve", "x", "--workers", "two"], "expected auto or an integer of 1 or more, got 'two'"),
        (["serve", "x", "--provider", "cpuu"], "'cpuu' is not one of cpu, cuda, auto"),
        (["serve", "a", "b"], "there is no argument for 'b'"),
        (["infer", "m", "--timeout", "-1"], "'-1' is not a number of seconds above 0"),
        (["load", "--html"], "--html: expected one argument"),
        (["load", "--rate", "1", "--closed", "1"], "not allowed with argument --rate"),
        (["load", "--seed", "1.5"], "'1.5' is not an integer of at least 0"),
        (["load", "--conn", "3"], "; did you mean --connections?"),
        (["load", "--conn=3"], "; did you mean --connections?"),
        (["serve", "x", "--max-seq", "3"], "; did you mean --max-sequence or --max-sequences?"),
    ],
)
def test_wrong_command_line_is_explained_in_one_sentence(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "usage" not in line
