"""The parts of the reference about limits and tolerances.

A limit is an option, constant or field whose text has the form "Bytes of … Beyond it: …": what is counted, and what
happens if there is more.
"""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reference_text import cell, first_sentence, said_of_names, table
from rnnserve.export.parity.tolerances import ULP, ParityLimits, limits_for
from rnnserve.server.commands.options import OPTIONS

_ROOT = Path(__file__).parents[2]
_MARK = "Beyond it: "

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "One request": ("server.validation", "server.errors", "server.settings", "server.protocol"),
    "Requests in flight": (
        "server.batching",
        "server.connections",
        "server.fast_path",
        "server.transport",
    ),
    "Sequences and sessions": ("server.protocol.sequences",),
    "Access": ("server.access",),
    "Versions": ("server.repository", "protos", "protos.array_archives"),
    "Workers": ("server.workers",),
    "The log": ("server.observing", "common"),
    "HTTP": ("web",),
}
"""A heading, and the parts of the code whose limits stand below it: those of the longest name that fits."""

_ELSEWHERE: Mapping[str, str] = {
    "server.validation.parsing._KEY_LEAST": "Sequences and sessions",
    "server.validation.parsing._MAX_SEQUENCE_ID": "Sequences and sessions",
    "server.protocol.sealed_states": "Sequences and sessions",
    "server.settings.max_queue": "Requests in flight",
    "server.settings.max_wait": "Requests in flight",
    **{
        f"server.settings.{name}": "Sequences and sessions"
        for name in ("session_age", "max_sequences", "max_sequence_bytes", "sequence_idle", "max_streams")
    },
    **{f"server.settings.{name}": "Versions" for name in ("load_timeout", "max_load_bytes")},
    "server.settings.max_run": "Workers",
}
"""Limits, and modules, whose limits stand elsewhere."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit.

    Attributes:
        name: Its full name, without `rnnserve.`.
        what: What is counted.
        value: How much of it there may be, in words.
        beyond: What happens where there is more.
    """

    name: str
    what: str
    value: str
    beyond: str


def limits() -> Iterator[str]:
    """Yield a table of the limits, area by area."""
    found = [*all_limits()]
    rows = []
    for heading in _SECTIONS:
        rows.append((f"**{heading}**", "", ""))
        rows += [(cell(one.what), one.value, cell(one.beyond)) for one in found if _section(one.name) == heading]
    yield from table(("what", "limit", "beyond it"), rows)


def all_limits() -> Iterator[Limit]:
    """Every limit that the sources tell, in the order of their files."""
    for area in ("protos", "common", "server", "web"):
        for path in sorted((_ROOT / area / "rnnserve" / area).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if re.search(r"Beyond\s+it:\s", source):
                name = ".".join(path.relative_to(_ROOT / area / "rnnserve").with_suffix("").parts)
                module = importlib.import_module(f"rnnserve.{name}")
                yield from of_module(name, module, source)


def of_module(name: str, module: object, source: str) -> Iterator[Limit]:
    """The limits of a module.

    Args:
        name: Its name, without `rnnserve.`.
        module: The module.
        source: Its text.
    """
    yield from _of_names(name, module, source)
    yield from _of_classes(name, module, source)


def _section(name: str) -> str:
    for elsewhere, heading in _ELSEWHERE.items():
        if f"{name}.".startswith(f"{elsewhere}."):
            return heading
    fits = [
        (len(part), heading)
        for heading, parts in _SECTIONS.items()
        for part in parts
        if f"{name}.".startswith(f"{part}.")
    ]
    if not fits:
        raise SystemExit(f"docs/tools/limits_reference.py: no section describes {name}")
    return max(fits)[1]


def _of_names(name: str, module: object, source: str) -> Iterator[Limit]:
    for names, said in said_of_names(source).items():
        if told := _told(said):
            values = "; ".join(_written(getattr(module, one), told[0]) for one in names)
            yield Limit(f"{name}.{names[0]}", told[0], values, told[1])


def _of_classes(name: str, module: Any, source: str) -> Iterator[Limit]:  # noqa: ANN401 - a module
    for kind in vars(module).values():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
            _, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
            said = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE))
            said |= {names[0]: text for names, text in said_of_names(source, kind.__name__).items()}
            said |= {field.name: field.metadata["option"].help for field in dataclasses.fields(kind) if field.metadata}
            for field in dataclasses.fields(kind):
                if told := _told(said.get(field.name, "")):
                    value = _written(field.default, told[0])
                    flag = _flag_of(kind, field.name)
                    yield Limit(f"{name}.{field.name}", told[0], f"`{flag}` {value}" if flag else value, told[1])


def _flag_of(kind: type, name: str) -> str:
    """The option that a field of a class is; empty where it is none."""
    return next((one.flag for one in OPTIONS if one.name == name and issubclass(one.owner, kind)), "")


def _told(said: str) -> tuple[str, str] | None:
    """What is counted, and what is beyond; None for a text that tells no limit."""
    what, mark, beyond = " ".join(said.split()).partition(_MARK)
    return (first_sentence(what[0].upper() + what[1:]), beyond.rstrip(".")) if mark else None


def _written(value: Any, what: str) -> str:  # noqa: ANN401 - a number, or one for each of several
    """A value in the unit that the text begins with."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_written(of, what)}" for name, of in value.items())
    unit = what.split()[0].rstrip(",")
    if unit == "Seconds":
        return f"{value:,g} s"
    if unit == "Bytes":
        for size, of_size in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size:,} {of_size}"
        return f"{value:,} bytes"
    return f"{value:,}"


def tolerances() -> Iterator[str]:
    """Yield a table of how far values may be apart, by device."""
    cpu, cuda = limits_for("cpu"), limits_for("cuda")
    of_ulps: Callable[[float], str] = lambda value: f"{value / ULP:g} ulp"  # noqa: E731 - beside the next one
    rows: list[tuple[str, Callable[[ParityLimits], str]]] = [
        ("one step, from eager", lambda of: of_ulps(of.step)),
        ("given samples, from eager", lambda of: f"{of.sample:g}"),
        (
            "whole sequences, from float64, root mean square",
            lambda of: f"{of.sequence_rms_factor:g} times eager's own plus {of_ulps(of.sequence_rms_floor)}",
        ),
        ("golden sequences, each value from float64", lambda of: f"{of.sequence_largest:g}"),
    ]
    yield from table(("what", "CPU", "CUDA"), [(what, said(cpu), said(cuda)) for what, said in rows])
