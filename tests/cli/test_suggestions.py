"""A misspelled command, option or choice: one sentence, with the one that was probably meant."""

import argparse

import pytest

from rnnserve.cli import main
from rnnserve.cli.command_table import COMMANDS, import_command
from rnnserve.cli.parser import CommandParser, closest


def parser_of(command):
    parser = CommandParser(prog=f"rnnserve {command}")
    import_command(command, COMMANDS[command]).add_arguments(parser)
    return parser


def shown_options(parser):
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return [option for action in shown for option in action.option_strings if option.startswith("--")]


def misspelled(word):
    """Without one letter, with two swapped, and with one doubled; of short words no letter is left out."""
    at = max(2, len(word) // 2)
    swapped = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
    doubled = word[:at] + word[at] + word[at:]
    return {swapped, doubled, *([word[:at] + word[at + 1 :]] if len(word) > 5 else [])} - {word}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_each_command(command):
    parser = parser_of(command)
    for option in shown_options(parser):
        for typo in misspelled(option):
            assert parser.unknown([typo, "x"]) == f"there is no option {typo}; did you mean {option}?"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command(command, capsys):
    for typo in misspelled(command):
        with pytest.raises(SystemExit) as ended:
            main([typo])
        assert ended.value.code == 2
        assert capsys.readouterr().err == (
            f"rnnserve: there is no command {typo!r}; did you mean {command}? See `rnnserve --help`\n"
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "rnnserve: the command is missing; there are demo, train, export"),
        (
            ["--html", "x", "load"],
            "rnnserve: --html stands before the command, and options follow it: `rnnserve load -",
        ),
        (["--verison"], "rnnserve: there is no option --verison; did you mean --version? See `rnnserve --help`"),
        (["serve"], "rnnserve serve: missing: REPOSITORY; see `rnnserve serve --help`"),
        (["serve", "x", "--prot", "1"], "rnnserve serve: there is no option --prot; did you mean --grpc-port? See"),
        (["serve", "x", "--workers", "two"], "rnnserve serve: --workers: 'two' is neither auto nor a number of 1 or "),
        (
            ["serve", "x", "--transport", "lan"],
            "rnnserve serve: --transport: 'lan' is not one of auto, lane, public; d",
        ),
        (["serve", "a", "b"], "rnnserve serve: there is no argument for 'b'; see `rnnserve serve --help`"),
        (["infer", "m", "--timeout", "x"], "rnnserve infer: --timeout: 'x' is not a number of seconds above 0; see"),
        (["infer", "m", "--timeout", "-1"], "rnnserve infer: --timeout: '-1' is not a number of seconds above 0; see"),
        (["load", "--html"], "rnnserve load: --html: expected one argument; see `rnnserve load --help`"),
        (["load", "--rate", "1", "--closed", "1"], "rnnserve load: --closed: not allowed with argument --rate; see"),
        (
            ["load", "--seed", "1.5"],
            "rnnserve load: --seed: '1.5' is not a whole number of 0 or more; see `rnnserve load --help`",
        ),
    ],
)
def test_one_sentence(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert "usage" not in line


@pytest.mark.parametrize(
    ("command", "words", "meant"),
    [
        ("load", ["--conn", "3"], "--connections"),
        ("load", ["--conn=3"], "--connections"),
        ("serve", ["--max-seq", "3"], "--max-sequence or --max-sequences or --max-sequence-bytes"),
        ("serve", ["--max-que=3"], "--max-queue"),
        ("web", ["--upstream", "a:1", "--tls-k", "x"], "--tls-key"),
    ],
)
def test_an_option_is_not_shortened_and_what_was_meant_is_said(command, words, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        parser_of(command).parse_args(words)
    assert ended.value.code == 2
    assert f"; did you mean {meant}? See" in capsys.readouterr().err


def test_words_that_are_like_nothing_have_no_suggestion():
    assert closest("--bogus", ["--runs", "--rate"]) is None
    assert closest("bogus", COMMANDS) is None
