"""The parts of the reference about the protocols: gRPC's methods and messages, and HTTP's routes and bodies."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proto_reference import Proto
from reference_text import cell, said_of_names, table
from rnnserve.protos import protocol_words
from rnnserve.protos.access_table import METHODS, ROLES, ROUTES, Need
from rnnserve.web import app

_PROTOS = ("inference.proto", "health.proto")

_VERSION = "/versions/{version}"


def methods() -> Iterator[str]:
    """Yield a table of gRPC's methods, service by service, with the role that each needs."""
    named = set()
    for service in (service for name in _PROTOS for service in Proto(name).services()):
        yield f"### `{service.name}`\n"
        rows = []
        for method, kind, said in service.rows:
            name = f"/{service.name}/{method}"
            named.add(name)
            rows.append((f"`{method}`", _role(METHODS[name]), cell(f"{kind}{said}" if kind else said)))
        yield from table(("method", "role", "what it does"), rows)
    yield "### Other services\n"
    others = [(name, need) for name, need in METHODS.items() if name not in named and need is not Need.INSIDE]
    yield from table(("method", "role"), [(f"`{name.lstrip('/')}`", _role(need)) for name, need in others])


def _role(need: Need) -> str:
    """Name the role of a token that suffices; `admin` includes the others."""
    if need in (Need.HEALTH, Need.OPEN):
        return "-"
    if set(need.roles) == set(ROLES):
        return "any"
    return f"`{next((role for role in need.roles if role != 'admin'), 'admin')}`"


def parameters() -> Iterator[str]:
    """Yield a table of the parameters in requests and responses."""
    rows = [(name, *said.split(": ", 1)) for name, said in _words("Parameter of ")]
    yield from table(("parameter", "of", "meaning"), rows)


def metadata() -> Iterator[str]:
    """Yield a table of the metadata of calls."""
    yield from table(("name", "meaning"), [*_words("Metadata"), *_words("Trailing metadata")])


def messages() -> Iterator[str]:
    """Yield the messages of inference.proto that have described fields."""
    for one in Proto("inference.proto").described():
        yield from one.lines()


def _words(beginning: str) -> Iterator[tuple[str, str]]:
    """Yield words whose docstrings begin so, each with its docstring without "Parameter of "."""
    for names, said in said_of_names(inspect.getsource(protocol_words)).items():
        text = " ".join(said.split())
        if text.startswith(beginning):
            for name in names:
                yield f"`{getattr(protocol_words, name)}`", cell(text.removeprefix("Parameter of "))


def _document() -> Any:  # noqa: ANN401 - JSON
    return json.loads(Path(app.__file__).with_name("openapi.json").read_text(encoding="utf-8"))


def routes() -> Iterator[str]:
    """Yield a table of HTTP's routes. Routes with the same purpose and role share a row."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path, item in _document()["paths"].items():
        for method, operation in item.items():
            if method != "parameters" and not (_VERSION in path and path.replace(_VERSION, "") in _document()["paths"]):
                key = (method.upper(), operation["summary"], _role(ROUTES[operation["tags"][0]]))
                has_versions = path.replace("{model}", "{model}" + _VERSION) in _document()["paths"]
                shown = path.replace("{model}", f"{{model}}[{_VERSION}]") if has_versions else path
                found.setdefault(key, []).append(f"`{shown}`")
    rows = [(method, ", ".join(paths), role, cell(summary)) for (method, summary, role), paths in found.items()]
    yield from table(("method", "path", "role", "what it does"), rows)


def schemas() -> Iterator[str]:
    """Yield the objects that bodies consist of."""
    for name, schema in _document()["components"]["schemas"].items():
        if "properties" in schema:
            required = schema.get("required", ())
            yield f"- **{name}**: " + "; ".join(
                f"`{field}` ({_type(of)}{'' if field in required else ', optional'})"
                + (f", {cell(of['description'])}" if "description" in of else "")
                for field, of in schema["properties"].items()
            )


def _type(schema: Mapping[str, Any]) -> str:
    """Describe the type of a value."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    if kind == "object" and "properties" in schema:
        return f"object of {', '.join(schema['properties'])}"
    return str(kind)


def statuses() -> Iterator[str]:
    """Yield a table of HTTP's statuses."""
    said = _document()["components"]["responses"]["Error"]["x-statuses"]
    yield from table(("status", "meaning"), [(status, cell(meaning)) for status, meaning in said.items()])
