"""The options of `rnnserve serve`: from the command line, the environment, a file in TOML, or their defaults.

Environment variables are named after their options, such as `RNNSERVE_MAX_QUEUE`. The file has one option per line,
such as `max_queue = 100`. Paths in the file are relative to its folder. Unknown names are refused, because a misspelled
limit would otherwise have no effect. Workers read neither variables nor files, because their supervisor passes all
options to them.

Why not a library: pydantic-settings takes 0.3 s to import, as long as all of `rnnserve serve --help`. ConfigArgParse
supports neither positional arguments nor paths relative to a file, and ignores misspelled variables.
"""

import argparse
import dataclasses
import difflib
import importlib.metadata
import json
import os
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

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
"""The variable that names the file if `--config` is not given."""

_OTHERS_VARIABLES = (CONFIG_VARIABLE, "RNNSERVE_TOKEN_FILE")
"""Variables that aren't options. Clients use the second, and may run on the same machine."""

FORMER: Mapping[str, str] = {
    "allow_rollback": "any signed version may serve; delete the folders of those that must not",
    "closed_health": "everybody may ask whether the server is live and ready; close the port to others in a firewall",
    "graph": "each version serves with the graph that was chosen when it was published",
    "http_allow_origin": "give --http-allow-host the origin",
    "http_workers": "as many processes speak HTTP as --workers says",
    "max_batch": "a request may have 16,384 rows; send several requests",
    "max_connection_age_grace": "calls on a connection that has come of age may take as long as they need",
    "max_held_bytes": "requests and responses in hand may take 18 times --max-message-bytes",
    "max_load_bytes": "a version may take 512 MiB beyond eight times its files while it is tried",
    "max_response_bytes": "the outputs of a response may take 4 times --max-message-bytes",
    "max_run": "a run may take 8 seconds plus ten times its measured cost",
    "max_sequence_bytes": "the states of sequences may take 16 KiB for each of --max-sequences, and 256 MiB at least",
    "max_streams": "8,192 streams may be open; share one among sequences",
    "max_wrong_tokens": "wrong tokens lock out no address; limit rates in a proxy such as Envoy",
    "no_triton_metrics": "drop the names nv_inference_… in Prometheus (metric_relabel_configs)",
    "poll": "with --model-control poll, the repository's folder is scanned every 2 seconds",
    "refused_signatures": "delete the folders of revoked versions, and leave revoked keys out of --require-signature",
    "sequence_idle": "a sequence is dropped after 60 seconds without a request; sessions keep states in the client",
    "session_age": "a session may wait for a day; replace the key of --session-key to end sessions sooner",
    "share_sequences": "clients send the same sequence_key with all requests of a sequence",
    "signature_record": "any signed version may serve; delete the folders of those that must not",
    "traces": "set the variable OTEL_TRACES_EXPORTER=otlp",
}
"""Removed options, and what applies instead."""

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
"""Valid values of a variable for an option without a value."""

_OF_KUBERNETES = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_[A-Z]+(_[A-Z]+)?)=.*|\w+_PORT=\w+://.*")
"""Variables, with their values, that Kubernetes sets in each container for a service named "rnnserve" or
"rnnserve-grpc". One of them has the name of our option."""


class MissingOption(StartError):
    """A required option is missing."""


class DeclaredOption(typing.NamedTuple):
    """A field that is an option of the command: its name, its default, and its class."""

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
        """Whether the option takes no value."""
        return isinstance(self.default, bool)

    def words(self, value: object) -> list[str]:
        """Write a value as arguments, or none if the value is not set."""
        if value is None or value is False:  # 0 is a value
            return []
        values = value if isinstance(value, tuple) else (value,)
        return [self.flag if value is True else f"{self.flag}={one}" for one in values]

    def read(self, value: object, folder: Path) -> object:
        """Convert a TOML value for the option, or raise ValueError. Paths are relative to the folder."""
        if self.is_switch:
            if not isinstance(value, bool):
                raise ValueError(f"expected true or false, got {value!r}")
            return value
        if self.option.is_repeated:
            if not isinstance(value, list):
                raise ValueError(f"expected a list, got {value!r}")
            return tuple([self._read_one(one, folder) for one in value])
        return self._read_one(value, folder)

    def _read_one(self, value: object, folder: Path) -> object:
        is_text = self.option.read in (str, Path)
        if type(value) not in ((str,) if is_text else (str, int, float)):
            raise ValueError(f"expected a {'text' if is_text else 'number'}, got {value!r}")
        read = self.option.read(str(value))
        if self.option.choices and read not in self.option.choices:
            raise ValueError(f"expected one of {', '.join(self.option.choices)}, got {read!r}")
        return folder / read if isinstance(read, Path) else read


def _declared(owner: type[Settings] | type[CommandSettings]) -> Iterator[DeclaredOption]:
    for field in dataclasses.fields(owner):
        if "option" in field.metadata:
            yield DeclaredOption(field.name, field.default, field.metadata["option"], owner)


OPTIONS = tuple(
    sorted([*_declared(Settings), *_declared(CommandSettings)], key=lambda each: GROUPS.index(each.option.group))
)
"""Every option, in the order of the help."""

_BY_NAME = {declared.name: declared for declared in OPTIONS}


class _Former(argparse.Action):
    """A removed option."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Refuse it."""
        parser.error(f"{self.option_strings[0]} has been removed: {FORMER[self.dest]}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare an argument for each option, with its help and default, in groups."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for declared in OPTIONS:
        option, group = declared.option, groups[declared.option.group]
        has_default = declared.default not in (None, (), "") and not declared.is_switch
        help = f"{option.help} (default: {declared.default})" if has_default else option.help
        how: dict[str, Any] = {"help": help, "default": argparse.SUPPRESS}
        if declared.is_switch:
            group.add_argument(declared.flag, action="store_true", **how)
            continue
        how |= {"type": _argument_type(option.read), "metavar": option.metavar}
        if option.is_positional:
            parser.add_argument(declared.name, nargs="?", **how | {"default": None, "help": option.help})
        elif option.is_repeated:
            group.add_argument(declared.flag, action="append", **how)
        else:
            group.add_argument(declared.flag, choices=option.choices or None, **how)
    for name in FORMER:
        flag = "--" + name.replace("_", "-")
        how = {"dest": name, "help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
        parser.add_argument(flag, nargs="?", action=_Former, **how)


def given_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the options on the command line, by name."""
    given = {name: value for name, value in vars(args).items() if name in _BY_NAME and value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def write_options(settings: Settings) -> list[str]:
    """Write the settings as arguments that read back as the same settings."""
    named = [
        word
        for declared in _declared(Settings)
        if not declared.option.is_positional
        for word in declared.words(getattr(settings, declared.name))
    ]
    return [*named, "--", str(settings.repository)]


def _argument_type(read: Callable[[str], object]) -> Callable[[str], object]:
    """Make a type for argparse, which shows an ArgumentTypeError's message but not a ValueError's."""

    def read_argument(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read_argument


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The value and origin of every option. Origins are "command line", a variable, a file, or "default"."""

    settings: Settings
    command: CommandSettings
    origins: Mapping[str, str]

    def changed(self) -> list[str]:
        """Return the changed options as arguments, for the log. For keys they contain only the file names."""
        return [
            word
            for declared in OPTIONS
            if not declared.option.is_positional and self._value(declared) != declared.default
            for word in declared.words(self._value(declared))
        ]

    def text(self) -> str:
        """Return the options as TOML, with their origins as comments. For keys it contains only the file names."""
        version = importlib.metadata.version("rnnserve")
        text = (
            f"# The options of rnnserve {version} and their origins. To use them as a file: rnnserve serve "
            "--config FILE\n"
        )
        for declared in OPTIONS:
            name, value = declared.name, self._value(declared)
            text += f"# {name}: not set\n" if value is None else f"{name} = {_toml(value)}  # {self.origins[name]}\n"
        return text

    def _value(self, declared: DeclaredOption) -> object:
        return getattr(self.settings if declared.owner is Settings else self.command, declared.name)


def read_configuration(given: Mapping[str, object], file: Path | None, environment: Mapping[str, str]) -> Configuration:
    """Combine the options. Raises StartError or MissingOption. A worker passes an empty environment."""
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    found = {} if file is None else _read_file(file)
    found |= _read_environment(environment)
    found |= {name: (value, "command line") for name, value in given.items()}
    if "repository" not in found:
        raise MissingOption(f"missing: {_BY_NAME['repository'].flag}")
    settings, command = (
        {name: value for name, (value, _) in found.items() if _BY_NAME[name].owner is owner}
        for owner in (Settings, CommandSettings)
    )
    origins = {name: found[name][1] if name in found else "default" for name in _BY_NAME}
    return Configuration(Settings(**settings), CommandSettings(**command), origins)  # type: ignore[arg-type]


_Layer = dict[str, tuple[object, str]]
"""Values by option name, each with its origin."""


def _read_file(path: Path) -> _Layer:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StartError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise StartError(f"{path} is not valid TOML: {error}") from error
    layer: _Layer = {}
    for key, value in table.items():
        if key not in _BY_NAME:
            raise StartError(f"{path}: there is no option {key}{_instead(key, key, _BY_NAME)}")
        try:
            layer[key] = _BY_NAME[key].read(value, path.parent), str(path)
        except ValueError as error:
            raise StartError(f"{path}: {key}: {error}") from error
    return layer


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
            raise StartError(f"there is no option for the variable {variable}{_instead(name, variable, by_variable)}")
        value: object = text
        if declared.is_switch:
            value = _WORDS.get(text.lower(), text)
        elif declared.option.is_repeated:
            value = [part.strip() for part in text.split(",") if part.strip()]
        try:
            layer[declared.name] = declared.read(value, Path()), variable
        except ValueError as error:
            raise StartError(f"{variable}: {error}") from error
    return layer


def _instead(name: str, word: str, known: Iterable[str]) -> str:
    """Return what to use instead of an unknown option."""
    if name in FORMER:
        return f" any more: {FORMER[name]}"
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = json.dumps(os.fspath(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
