"""From the fields of `Settings` to the command line, and back."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from rnnserve.server.option import Option
from rnnserve.server.settings import Settings

__all__ = ["add_options", "argument_type", "changed_options", "read_options", "write_options"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare an argument for each option of `Settings`, with its help and default."""
    for field, option in _options():
        if option.is_positional:
            parser.add_argument(field.name, type=argument_type(option.parse), metavar=option.metavar, help=option.help)
        elif isinstance(field.default, bool):
            parser.add_argument(_flag(field.name), action="store_true", help=option.help)
        else:
            parser.add_argument(
                _flag(field.name),
                type=argument_type(option.parse),
                default=field.default,
                choices=option.choices or None,
                metavar=option.metavar,
                help=option.help,
            )


def read_options(args: argparse.Namespace) -> Settings:
    """Make the settings from parsed arguments.

    Raises:
        StartError: If they do not fit together.
    """
    return Settings(**{field.name: getattr(args, field.name) for field, _ in _options()})


def changed_options(args: argparse.Namespace, declare: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """The options that differ from their defaults, as arguments: for the log. Of keys they have the files.

    Args:
        args: Parsed arguments of `serve`.
        declare: Function that declares them on a parser.
    """
    parser = argparse.ArgumentParser(add_help=False)
    declare(parser)
    usual = vars(parser.parse_args([str(args.repository)]))
    return [
        _flag(name) if value is True else f"{_flag(name)}={value}"
        for name, value in vars(args).items()
        if name in usual and value != usual[name]
    ]


def write_options(settings: Settings) -> list[str]:
    """Write the settings as arguments: `read_options` of them gives the same settings."""
    positional: list[str] = []
    named: list[str] = []
    for field, option in _options():
        value = getattr(settings, field.name)
        if option.is_positional:
            positional.append(str(value))
        elif value is True:
            named.append(_flag(field.name))
        elif value is not None and value is not False:  # 0 is a value
            named.append(f"{_flag(field.name)}={value}")
    return [*named, "--", *positional]


def argument_type(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Make a type for argparse, which shows the message of an ArgumentTypeError but not that of a ValueError."""

    def parse_argument(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument


def _options() -> Iterator[tuple[dataclasses.Field[Any], Option]]:
    for field in dataclasses.fields(Settings):
        if "option" in field.metadata:
            yield field, field.metadata["option"]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
