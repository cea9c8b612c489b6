"""The options of `rnnserve serve`: from the command line, the environment, a file in TOML, or their defaults.

A variable is named as its option, `RNNSERVE_MAX_QUEUE`; the file has an option in each line, `max_queue = 100`. Paths
in the file are relative to its folder. Unknown names are refused: a misspelled limit would otherwise be none. Workers
read neither variables nor files: their supervisor passes them all options.

Of libraries, pydantic-settings takes 0.3 s to import, as long as all of `rnnserve serve --help`; ConfigArgParse reads
neither positional arguments nor paths relative to a file, and takes misspelled variables for none.
"""

import argparse
import dataclasses
import difflib
import importlib.metadata
import json
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from rnnserve.common.toml_files import parse_toml
from rnnserve.server.errors import StartError
from rnnserve.server.settings import GROUPS, CommandSettings, Option, Settings

__all__ = [
    "CONFIG_VARIABLE",
    "OPTIONS",
    "Configuration",
    "DeclaredOption",
    "MissingOption",
    "add_options",
    "given_options",
    "read_configuration",
    "write_options",
]

_PREFIX = "RNNSERVE_"

CONFIG_VARIABLE = "RNNSERVE_CONFIG"
"""The variable that names the file where `--config` does not."""

_OTHERS_VARIABLES = (CONFIG_VARIABLE, "RNNSERVE_TOKEN_FILE")
"""Variables that are no option's: the second is that of clients, which may run beside."""

FORMER: Mapping[str, str] = {
    "allow_rollback": "any signed version may serve; delete the folders of those that must not",
    "closed_health": "everybody may ask whether the server is live and ready; close the port to others in a firewall",
    "max_batch": "a request may have 16,384 rows; send several requests",
    "max_connection_age_grace": "calls on a connection that has come of age may take as long as they need",
    "max_held_bytes": "requests and responses in hand may take 18 times --max-message-bytes",
    "max_response_bytes": "the outputs of a response may take 4 times --max-message-bytes",
    "max_streams": "8,192 streams may be open; share one among sequences",
    "max_wrong_tokens": "wrong tokens lock out no address; limit rates in a proxy such as Envoy",
    "no_triton_metrics": "drop the names nv_inference_… in Prometheus (metric_relabel_configs)",
    "refused_signatures": "delete the folders of revoked versions, and leave revoked keys out of --require-signature",
    "session_age": "a session may wait for a day; replace the key of --session-key to end sessions sooner",
    "transport": "the fast path is the only way; --plain serves without it, as --transport public did",
    "signature_record": "any signed version may serve; delete the folders of those that must not",
}
"""Options that there were, and what holds instead."""

_MOST_BYTES = 1 << 20

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
"""What a variable of an option without a value may be."""

_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|\w+_PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)
"""Variables, with their values, that Kubernetes gives each container for a service named "rnnserve" or "rnnserve-grpc":
one of these has the name of an option of ours."""


class MissingOption(StartError):
    """An option that has to be given is not."""


class DeclaredOption(typing.NamedTuple):
    """A field that is an option of the command.

    Attributes:
        name: Name of the field, and of the option in a file.
        default: Its value if it is not given.
        option: How it appears on the command line.
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
        value = self.option.read(text)
        if self.option.choices and value not in self.option.choices:
            raise ValueError(f"{text!r} is not one of {', '.join(self.option.choices)}")
        return value


def _declared(owner: type[Settings] | type[CommandSettings]) -> Iterator[DeclaredOption]:
    for field in dataclasses.fields(owner):
        if "option" in field.metadata:
            yield DeclaredOption(field.name, field.default, field.metadata["option"], owner)


OPTIONS = tuple(
    sorted([*_declared(Settings), *_declared(CommandSettings)], key=lambda each: GROUPS.index(each.option.group))
)
"""Every option, in the order of the help."""

_BY_NAME = {declared.name: declared for declared in OPTIONS}


class _NotGiven:
    """Stands for the default of an option, which the help shows: so that one that was given can be told from others."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return str(self._value)


class _Former(argparse.Action):
    """An option that there was."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Refuse it."""
        parser.error(f"there is no option {self.option_strings[0]} any more: {FORMER[self.dest]}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare an argument for each option, with its help and default, in groups."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for declared in OPTIONS:
        option, group = declared.option, groups[declared.option.group]
        is_shown = declared.default not in (None, (), "") and not declared.is_switch
        how: dict[str, Any] = {"help": option.help}
        how["default"] = _NotGiven(declared.default) if is_shown else argparse.SUPPRESS  # then the help has none
        if declared.is_switch:
            group.add_argument(declared.flag, action="store_true", **how)
            continue
        how |= {"type": _argument_type(option.read), "metavar": option.metavar}
        if option.is_positional:
            parser.add_argument(declared.name, nargs="?", **how | {"default": None})
        elif option.is_repeated:
            group.add_argument(declared.flag, action="append", **how)
        else:
            group.add_argument(declared.flag, choices=option.choices or None, **how)
    for name in FORMER:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag, dest=name, nargs="?", action=_Former, help=argparse.SUPPRESS, default=argparse.SUPPRESS
        )


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


def _argument_type(read: Callable[[str], object]) -> Callable[[str], object]:
    """Make a type for argparse, which shows the message of an ArgumentTypeError but not that of a ValueError."""

    def read_argument(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read_argument


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The value of every option, and where it is from.

    Attributes:
        settings: How to serve.
        command: How the command runs the server.
        origins: By the name of each option: "command line", the variable, file and line, or "default".
    """

    settings: Settings
    command: CommandSettings
    origins: Mapping[str, str]

    def changed(self) -> list[str]:
        """The options that differ from their defaults, as arguments: for the log. Of keys they have the files."""
        changed = []
        for declared in OPTIONS:
            value = self._value(declared)
            if declared.option.is_positional or value == declared.default:
                continue
            values = value if isinstance(value, tuple) else (value,)
            changed += [declared.flag if declared.is_switch else f"{declared.flag}={one}" for one in values]
        return changed

    def text(self) -> str:
        """A file in TOML that gives the same options, where each is from beside it; of keys it has the files."""
        version = importlib.metadata.version("rnnserve")
        lines = [
            f"# The options of rnnserve {version}, and where each is from; as a file: rnnserve serve --config FILE"
        ]
        for declared in OPTIONS:
            value, origin = self._value(declared), self.origins[declared.name]
            lines.append(
                f"# {declared.name}: none" if value is None else f"{declared.name} = {_toml(value)}  # {origin}"
            )
        return "\n".join(lines) + "\n"

    def _value(self, declared: DeclaredOption) -> object:
        return getattr(self.settings if declared.owner is Settings else self.command, declared.name)


def read_configuration(given: Mapping[str, object], file: Path | None, environment: Mapping[str, str]) -> Configuration:
    """Put the options together.

    Args:
        given: Options of the command line, read.
        file: The file, if the command line names one.
        environment: Environment of the process; empty for a worker.

    Raises:
        MissingOption: If nothing names the repository.
        StartError: If the file cannot be read, a key or a variable is none of an option's, a value is none of its
            option's, or options do not fit together.
    """
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    values: dict[str, object] = {}
    origins = dict.fromkeys(_BY_NAME, "default")
    for layer in (
        {} if file is None else _read_file(file),
        _read_environment(environment),
        {name: (value, "command line") for name, value in given.items()},
    ):
        for name, (value, origin) in layer.items():
            values[name], origins[name] = value, origin
    if "repository" not in values:
        raise MissingOption(f"missing: {_BY_NAME['repository'].flag}")
    settings, command = (
        {name: value for name, value in values.items() if _BY_NAME[name].owner is owner}
        for owner in (Settings, CommandSettings)
    )
    return Configuration(Settings(**settings), CommandSettings(**command), origins)  # type: ignore[arg-type]


_Layer = dict[str, tuple[object, str]]
"""Values by the names of their options, each with where it is from."""


def _read_file(path: Path) -> _Layer:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise StartError(f"the configuration {path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise StartError(f"the configuration {path} has more than {_MOST_BYTES:,} bytes")
    try:
        table = parse_toml(content, path)
    except ValueError as error:
        raise StartError(str(error)) from error
    layer: _Layer = {}
    for key, value in table.items():
        place = f"{path}:{_line_of(key, content.decode())}"
        if key not in _BY_NAME:
            raise StartError(f"{place}: there is no option {key}{_instead(key, key, _BY_NAME)}")
        try:
            layer[key] = _value_in_file(_BY_NAME[key], value, path.parent), place
        except ValueError as error:
            raise StartError(f"{place}: {key}: {error}") from error
    return layer


def _value_in_file(declared: DeclaredOption, value: object, folder: Path) -> object:
    """Turn a value of TOML into the option's."""
    if declared.is_switch:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if declared.option.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple([_one_in_file(declared, entry, folder) for entry in value])
    return _one_in_file(declared, value, folder)


def _one_in_file(declared: DeclaredOption, value: object, folder: Path) -> object:
    is_text = declared.option.read in (str, Path)
    kinds: tuple[type, ...] = (str,) if is_text else (str, int, float)
    if type(value) not in kinds:
        raise ValueError(f"{value!r} is not a {'text' if is_text else 'number'}")
    read = declared.read(str(value))
    return folder / read if isinstance(read, Path) else read


def _read_environment(environment: Mapping[str, str]) -> _Layer:
    by_variable = {_PREFIX + declared.name.upper(): declared for declared in OPTIONS}
    layer: _Layer = {}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or variable in _OTHERS_VARIABLES:
            continue
        if _OF_KUBERNETES.fullmatch(f"{variable}={text}"):
            continue
        declared = by_variable.get(variable)
        if declared is None:
            name = variable.removeprefix(_PREFIX).lower()
            raise StartError(f"there is no option of the variable {variable}{_instead(name, variable, by_variable)}")
        try:
            layer[declared.name] = _value_of_variable(declared, text), variable
        except ValueError as error:
            raise StartError(f"{variable}: {error}") from error
    return layer


def _value_of_variable(declared: DeclaredOption, text: str) -> object:
    if declared.is_switch:
        if text.lower() not in _WORDS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _WORDS[text.lower()]
    if declared.option.is_repeated:
        return tuple([declared.read(part.strip()) for part in text.split(",") if part.strip()])
    return declared.read(text)


def _instead(name: str, word: str, known: Iterable[str]) -> str:
    """Say what to use instead of an unknown option."""
    if name in FORMER:
        return f" any more: {FORMER[name]}"
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _line_of(key: str, text: str) -> int:
    """The line on which a key of the file stands, or begins a table."""
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{re.escape(key)}["']?[ \t]*[.=\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _toml(value: object) -> str:
    """Write a value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = json.dumps(os.fspath(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
