"""The page of the artifact's format: a version's files, and each field of its manifest, as manifest.proto says it."""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

PROTO = Path(__file__).parents[2] / "protos" / "rnnserve" / "protos" / "manifest.proto"

_MODULES = ("artifact", "golden", "recorded_defaults", "signing.signed_version", "serving_graph")
"""Modules of the contracts whose docstrings say what files hold."""

_OPENS = re.compile(r"(?P<kind>message|enum) (?P<name>\w+) \{")
_FIELD = re.compile(r"(?P<type>(?:repeated )?[\w.]+|map<.+>) (?P<name>\w+) = (?P<number>\d+);")
_VALUE = re.compile(r"(?P<name>[A-Z_\d]+) = (?P<number>\d+);")


@dataclasses.dataclass
class Described:
    """A message or an enumeration: what the comments say of it, and its fields or values."""

    kind: str
    name: str
    comment: str
    rows: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)


def described(source: str) -> Iterator[Described]:
    """Read a .proto file.

    Raises:
        ValueError: If a line of a message is none that is known.
    """
    comment: list[str] = []
    within: Described | None = None
    for line in map(str.strip, source.splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        said, comment = " ".join(comment), []
        if opened := _OPENS.fullmatch(line):
            within = Described(opened["kind"], opened["name"], said)
        elif within is not None and line == "}":
            yield within
            within = None
        elif within is not None and line:
            found = (_VALUE if within.kind == "enum" else _FIELD).fullmatch(line)
            if found is None:
                raise ValueError(f"{PROTO.name}: {line!r} is no {within.kind}'s line")
            within.rows.append((found["name"], found["type"] if within.kind == "message" else found["number"], said))


def artifact() -> Iterator[str]:
    """The page, line by line."""
    yield "# Artifact\n"
    yield (
        "What lies in a repository for each version of a model, as the code and `protos/manifest.proto` say it. "
        "`rnnserve inspect` shows it for a version; [signing.md](../signing.md) says what signatures add.\n"
    )
    for name in _MODULES:
        module = importlib.import_module(f"rnnserve.protos.{name}")
        yield f"## `protos/{name.replace('.', '/')}.py`\n\n```text\n{inspect.cleandoc(module.__doc__ or '')}\n```\n"
    source = PROTO.read_text(encoding="utf-8")
    intro = re.match(r"(?:// .*\n)+", source)
    yield "## The manifest\n"
    yield (" ".join(line.removeprefix("//").strip() for line in intro[0].splitlines()) if intro else "") + "\n"
    for one in described(source):
        yield f"### `{one.name}`\n"
        if one.comment:
            yield f"{_cell(one.comment)}\n"
        yield "| field | type | means |" if one.kind == "message" else "| value | number | means |"
        yield "| --- | --- | --- |"
        yield from (f"| `{name}` | `{kind}` | {_cell(said) or '-'} |" for name, kind, said in one.rows)
        yield ""


def _cell(text: str) -> str:
    """A text for a table; of modules it has the files, since they are no public names."""
    return re.sub(r"\brnnserve\.protos\.(\w+)", r"protos/\1.py", text).replace("|", "\\|").replace("<", "&lt;")
