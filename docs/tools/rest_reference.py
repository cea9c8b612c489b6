"""The page of REST: each route, with what it needs, what bodies and answers hold, and what statuses mean."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from access_reference import needs
from reference_text import cell, table
from rnnserve.protos.access_table import ROUTES
from rnnserve.web import app
from rnnserve.web.errors import STATUSES


def rest() -> Iterator[str]:
    """The page, line by line."""
    document = json.loads(Path(app.__file__).with_name("openapi.json").read_text(encoding="utf-8"))
    operations = [
        (path, method.upper(), operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    yield "# REST\n"
    yield (
        "Every route of the HTTP gateway; [http.md](../http.md) has examples with curl, and says how tensors are "
        "written. `/openapi.json` of a server says the same to programs. What a route needs is asked for if the server "
        "has `--tokens` or `--client-roles` ([access.md](../access.md)).\n"
    )
    yield "## Routes\n"
    said = needs()
    rows = [
        (f"`{method}`", f"`{path}`", cell(operation["summary"]), cell(said[ROUTES[operation["tags"][0]]]))
        for path, method, operation in operations
    ]
    yield from table(("method", "path", "what", "needs"), rows)
    yield "HEAD goes wherever GET does, and OPTIONS everywhere.\n"
    yield "## Bodies\n"
    yield "Further fields are not read, except where it says so. Inference also takes and gives bytes.\n"
    bodies = [(path, operation.get("requestBody", {})) for path, _, operation in operations]
    yield from table(("route", "body"), [*_of_paths(bodies)])
    yield "## Answers\n"
    yield "With status 200; `infer` gives an `InferResponse`.\n"
    answers = [(path, operation["responses"].get("200", {})) for path, _, operation in operations]
    yield from table(("route", "answer"), [*_of_paths(answers)])
    for name, schema in document["components"]["schemas"].items():
        if "properties" not in schema:
            continue
        yield f"### `{name}`\n"
        required = schema.get("required", ())
        rows = [
            (f"`{field}`", cell(_type(of)), "always" if field in required else "-", cell(of.get("description", "-")))
            for field, of in schema["properties"].items()
        ]
        yield from table(("field", "type", "there", "what"), rows)
    yield "## Statuses\n"
    yield 'An error is `{"error": "…", "id": "…"}`, of the type `Error`.\n'
    yield from table(("status", "means"), [(str(status), cell(said)) for status, said in STATUSES.items()])


def _of_paths(told: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, str]]:
    """Paths, and the JSON that is told of them; paths of which the same is told stand together."""
    paths: dict[str, list[str]] = {}
    for path, content in told:
        schema = content.get("content", {}).get("application/json", {}).get("schema")
        if schema and f"`{path}`" not in paths.setdefault(_whole(schema), []):
            paths[_whole(schema)].append(f"`{path}`")
    for said, of in paths.items():
        yield ", ".join(of), cell(said)


def _whole(schema: Mapping[str, Any]) -> str:
    """A schema in a line: the fields of an object, and else its type."""
    if "properties" not in schema:
        return _type(schema)
    required = schema.get("required", ())
    fields = [
        f"`{name}` ({_type(of)}{'' if name in required else ', may be missing'})"
        for name, of in schema["properties"].items()
    ]
    return ", ".join(fields) + ("; nothing else" if schema.get("additionalProperties") is False else "")


def _type(schema: Mapping[str, Any]) -> str:
    """What a value is, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return str(schema["const"]).lower()
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
