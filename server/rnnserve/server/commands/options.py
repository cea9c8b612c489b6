"""From the fields of `Settings` and `CommandSettings` to the command line, and back."""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

from rnnserve.server.commands.command_settings import CommandSettings
from rnnserve.server.settings import Settings
from rnnserve.server.settings.option import Option

__all__ = ["OPTIONS", "DeclaredOption", "add_options", "given_options", "write_options"]


class DeclaredOption(typing.NamedTuple):
    """A field that is an option of the command.

    Attributes:
        name: Name of the field, and of the option in a file.
        default: Its value where it is not given.
        option: How its text is read.
        owner: The class whose field it is.
    """

    name: str
    default: Any
    option: Option
    owner: type[Settings] | type[CommandSettings]

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.option.metavar or "" if self.option.is_positional else "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it is given without a value."""
        return isinstance(self.default, bool)

    def read(self, text: str) -> object:
        """Turn a text into a value: one of those that a repeated option has.

        Raises:
            ValueError: If it is none; the message is for the user.
        """
        value = self.option.parse(text)
        if self.option.choices and value not in self.option.choices:
            raise ValueError(f"{text!r} is not one of {', '.join(self.option.choices)}")
        return value


def _declared(owner: type[Settings] | type[CommandSettings]) -> Iterator[DeclaredOption]:
    for field in dataclasses.fields(owner):
        if "option" in field.metadata:
            yield DeclaredOption(field.name, field.default, field.metadata["option"], owner)


OPTIONS = (*_declared(Settings), *_declared(CommandSettings))
"""Every option, in the order of the help."""


class _NotGiven:
    """Stands for the default of an option, which the help shows: so that one that was given can be told from others."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return str(self._value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare an argument for each option, with its help and default."""
    for declared in OPTIONS:
        option = declared.option
        how: dict[str, Any] = {"help": option.help}
        is_shown = declared.default not in (None, (), "") and not declared.is_switch
        how["default"] = _NotGiven(declared.default) if is_shown else argparse.SUPPRESS  # then the help has none
        if declared.is_switch:
            parser.add_argument(declared.flag, action="store_true", **how)
            continue
        how |= {"type": argument_type(option.parse), "metavar": option.metavar}
        if option.is_positional:
            parser.add_argument(declared.name, nargs="?", **how | {"default": None})
        elif option.is_repeated:
            parser.add_argument(declared.flag, action="append", **how)
        else:
            parser.add_argument(declared.flag, choices=option.choices or None, **how)


def given_options(args: argparse.Namespace) -> dict[str, object]:
    """Those options that were given on the command line, by their names."""
    values = {declared.name: getattr(args, declared.name, None) for declared in OPTIONS}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None and not isinstance(value, _NotGiven)
    }


def write_options(settings: Settings) -> list[str]:
    """Write the settings as arguments: read again, they give the same settings."""
    positional: list[str] = []
    named: list[str] = []
    for declared in _declared(Settings):
        value = getattr(settings, declared.name)
        if declared.option.is_positional:
            positional.append(str(value))
        elif value is True:
            named.append(declared.flag)
        elif declared.option.is_repeated:
            named += [f"{declared.flag}={one}" for one in value]
        elif value is not None and value is not False:  # 0 is a value
            named.append(f"{declared.flag}={value}")
    return [*named, "--", *positional]


def argument_type(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Make a type for argparse, which shows the message of an ArgumentTypeError but not that of a ValueError."""

    def parse_argument(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument
