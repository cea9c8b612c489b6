"""The command line's parser. An error is one sentence: the mistake, the likely intention, and where to find help."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from rnnserve.cli.streams import in_encoding

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["CommandParser", "closest"]

_CHOICE = re.compile(r"(?P<said>.*)invalid choice: (?P<given>.+) \(choose from (?P<choices>.+)\)", re.DOTALL)
_LIKENESS = 0.6
"""Least similarity for a suggestion, which is difflib's default."""
_OF_A_PART = 0.9

_MOST_MEANT = 4
"""Most options to suggest that begin with the given word."""

_NUMBERS = {"invalid int value: ": "is not a whole number", "invalid float value: ": "is not a number"}


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of one command.

    argparse prints the whole usage before an error, which is 22 lines for `rnnserve load`. This parser prints only the
    error. Options can't be abbreviated, because a later release with more options would change an abbreviation's
    meaning.

    Attributes:
        help_end: A function that returns the end of the help, which isn't wrapped.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's options
        super().__init__(**{"allow_abbrev": False, **options})
        self.help_end: Callable[[], str] = str

    def error(self, message: str) -> NoReturn:
        """Print one line, and end with exit status 2."""
        said = _explained(message.removeprefix("argument "))
        self.exit(2, f"{self.prog}: {said}{' See' if said.endswith('?') else '; see'} `{self.prog} --help`\n")

    def parse_args(  # type: ignore[override]  # argparse's overloads are for other namespaces, which no command has
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse. The error for unknown words names them, and suggests an option."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(self.unknown(rest))
        return parsed

    def format_help(self) -> str:
        """Return the help, with only characters that the encoding of standard output has."""
        return in_encoding(super().format_help() + self.help_end(), sys.stdout.encoding)

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help. argparse's own method would hide a failed write."""
        (file or sys.stdout).write(self.format_help())

    def unknown(self, words: Sequence[str]) -> str:
        """Return the error for unknown words, with a suggested option."""
        option = next((word.partition("=")[0] for word in words if word.startswith("-") and word != "-"), None)
        if option is None:
            return f"there is no argument for {' '.join(map(repr, words))}"
        return f"there is no option {option}{_suggestion(option, self._shown_options())}"

    def _shown_options(self) -> list[str]:
        """Return the options in the help, including the options of actions, such as `rnnserve ray up`."""
        shown = [action for action in self._actions if action.help is not argparse.SUPPRESS]
        options = [option for action in shown for option in action.option_strings]
        for parser in [
            each for action in shown if isinstance(action.choices, dict) for each in action.choices.values()
        ]:
            options += [option for option in parser._shown_options() if option not in options]  # noqa: SLF001 - our own
        return options


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the entry most similar to a word, as a whole or in a part of its name.

    For example, `--prot` is similar to a part of `--grpc-port`. Among equally similar entries, the first wins.
    """
    found = [(_likeness(word, entry), entry) for entry in known]
    likeness, entry = max(found, key=lambda pair: pair[0], default=(0.0, ""))
    return entry if likeness >= _LIKENESS else None


def _likeness(word: str, entry: str) -> float:
    """Return the similarity of two words, from 0 to 1. Leading dashes don't count, because all options have them."""
    word, entry = word.strip("-").lower(), entry.strip("-").lower()
    whole = difflib.SequenceMatcher(None, word, entry).ratio()
    if min(len(word), len(entry)) > 1 and (entry.startswith(word) or word.startswith(entry)):
        whole = max(whole, _OF_A_PART)
    parts = (difflib.SequenceMatcher(None, word, part).ratio() for part in entry.split("-"))
    return max(whole, _OF_A_PART * max(parts))


def _suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest the entries that begin with the word, or else the most similar entry."""
    entries = list(known)
    meant = [entry for entry in entries if entry.startswith(word)][:_MOST_MEANT] if word.strip("-") else []
    meant = meant or [entry for entry in [closest(word, entries)] if entry]
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _explained(message: str) -> str:
    """Return argparse's sentence, with a suggested choice and without the names of Python's types."""
    choice = _CHOICE.fullmatch(message)
    if choice is not None:
        choices = [part.strip(" '\"") for part in choice["choices"].split(",")]
        given = choice["given"].strip("'\"")
        return f"{choice['said']}{given!r} is not one of {', '.join(choices)}{_suggestion(given, choices)}"
    for said, meant in _NUMBERS.items():
        start, found, value = message.partition(said)
        if found:
            return f"{start}{value} {meant}"
    if message.startswith("the following arguments are required: "):
        return f"missing: {message.partition(': ')[2]}"
    return message
