"""Where options of `rnnserve serve` come from: command line, environment, a file, or their defaults, in this order.

A variable is named as its option, `RNNSERVE_MAX_QUEUE`; the file is TOML, with an option in each line, `max_queue =
100`. Paths in the file are relative to its folder. What is no option is refused by its name: a misspelled bound would
else be none.

Workers read neither: their supervisor tells them all, so that one that is started later is like the others.
"""

import dataclasses
import difflib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rnnserve.common.toml_files import parse_toml
from rnnserve.server.commands.command_settings import CommandSettings
from rnnserve.server.commands.options import OPTIONS, DeclaredOption
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings

__all__ = ["CONFIG_VARIABLE", "Configuration", "MissingOption", "read_configuration"]

_PREFIX = "RNNSERVE_"

CONFIG_VARIABLE = "RNNSERVE_CONFIG"
"""The variable that names the file where `--config` does not."""

_OTHERS_VARIABLES = (CONFIG_VARIABLE, "RNNSERVE_TOKEN_FILE")
"""Variables that are no option's: the second is that of clients, which may run beside."""

_MOST_BYTES = 1 << 20

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
"""What a variable of an option without a value may say."""

_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|\w+_PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)
"""Variables, with their values, that Kubernetes gives each container for a service named "rnnserve" or "rnnserve-grpc":
one of these has the name of an option of ours."""

_DEFAULT = "default"


class MissingOption(StartError):
    """An option that has to be given is not."""


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
            if declared.is_switch:
                changed.append(declared.flag)
            else:
                values = value if isinstance(value, tuple) else (value,)
                changed += [f"{declared.flag}={one}" for one in values]
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
        file: The file, where the command line names one.
        environment: Environment of the process; empty for a worker.

    Raises:
        MissingOption: If nothing names the repository.
        StartError: If the file cannot be read, a key or a variable is none of an option's, a value is none of its
            option's, or options do not fit together.
    """
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    values: dict[str, object] = {}
    origins = {declared.name: _DEFAULT for declared in OPTIONS}
    for layer in (
        {} if file is None else _read_file(file),
        _read_environment(environment),
        {name: (value, "command line") for name, value in given.items()},
    ):
        for name, (value, origin) in layer.items():
            values[name], origins[name] = value, origin
    for declared in OPTIONS:
        if declared.option.is_positional and declared.name not in values:
            raise MissingOption(f"missing: {declared.flag}")
    settings, command = (
        {
            declared.name: values[declared.name]
            for declared in OPTIONS
            if declared.owner is owner and declared.name in values
        }
        for owner in (Settings, CommandSettings)
    )
    return Configuration(Settings(**settings), CommandSettings(**command), origins)  # type: ignore[arg-type]


Layer = dict[str, tuple[object, str]]
"""Values by the names of their options, each with where it is from."""


def _read_file(path: Path) -> Layer:
    """Read a file's options."""
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
    text = content.decode()
    by_name = {declared.name: declared for declared in OPTIONS}
    layer: Layer = {}
    for key, value in table.items():
        place = f"{path}:{_line_of(key, text)}"
        if key not in by_name:
            raise StartError(f"{place}: there is no option {key}{_nearest(key, by_name)}")
        try:
            layer[key] = _value_in_file(by_name[key], value, path.parent), place
        except ValueError as error:
            raise StartError(f"{place}: {key}: {error}") from error
    return layer


def _value_in_file(declared: DeclaredOption, value: object, folder: Path) -> object:
    """Turn a value of TOML into the option's."""
    option = declared.option
    if declared.is_switch:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if option.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple([_one_in_file(declared, entry, folder) for entry in value])
    return _one_in_file(declared, value, folder)


def _one_in_file(declared: DeclaredOption, value: object, folder: Path) -> object:
    is_text = declared.option.parse in (str, Path)
    kinds: tuple[type, ...] = (str,) if is_text else (str, int, float)
    if type(value) not in kinds:
        raise ValueError(f"{value!r} is not a {'text' if is_text else 'number'}")
    read = declared.read(str(value))
    return folder / read if isinstance(read, Path) else read


def _read_environment(environment: Mapping[str, str]) -> Layer:
    """Read the options that variables give."""
    by_variable = {_PREFIX + declared.name.upper(): declared for declared in OPTIONS}
    layer: Layer = {}
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or variable in _OTHERS_VARIABLES:
            continue
        if _OF_KUBERNETES.fullmatch(f"{variable}={text}"):
            continue
        declared = by_variable.get(variable)
        if declared is None:
            raise StartError(f"there is no option of the variable {variable}{_nearest(variable, by_variable)}")
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


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _line_of(key: str, text: str) -> int:
    """The line on which a key of the file stands, or begins a table."""
    quoted = re.escape(key)
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{quoted}["']?[ \t]*[.=\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _toml(value: object) -> str:
    """Write a value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(os.fspath(value) if isinstance(value, Path) else value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )
