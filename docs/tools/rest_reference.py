"""The page of REST: each route, with what it needs, what bodies and answers hold, and what statuses mean."""

from collections.abc import Iterator, Mapping
from typing import Any

from access_reference import needs
from reference_text import cell, table
from rnnserve.protos.access_table import ROUTES
from rnnserve.web.app.openapi_schemas import ANSWERS, BODIES, SCHEMAS, said_of
from rnnserve.web.app.routes import RouteEntry
from rnnserve.web.app.site import site_routes
from rnnserve.web.errors import STATUSES


def rest() -> Iterator[str]:
    """The page, line by line."""
    routes = site_routes()
    yield "# REST\n"
    yield (
        "Every route of the HTTP front, as its own table has it; [http.md](../http.md) has examples with curl, and "
        "says how tensors are written. `/openapi.json` of a server says the same to programs. What a route needs is "
        "asked for where the server has `--tokens` or `--client-roles` ([access.md](../access.md)).\n"
    )
    yield "## Routes\n"
    said = needs()
    rows = [
        (_methods(route), f"`{route.path}`", cell(route.summary), cell(said[ROUTES[route.name]])) for route in routes
    ]
    yield from table(("methods", "path", "what", "needs"), rows)
    yield "HEAD goes wherever GET does, and OPTIONS everywhere.\n"
    yield "## Bodies\n"
    yield "Further fields are not read, but where it says so. Inference also takes and gives bytes.\n"
    yield from table(("route", "body"), [*_of_routes(routes, BODIES, "POST")])
    yield "## Answers\n"
    yield "With status 200; `infer` gives an `InferResponse`.\n"
    yield from table(("route", "answer"), [*_of_routes(routes, ANSWERS)])
    for name, schema in SCHEMAS.items():
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


def _methods(route: RouteEntry) -> str:
    return ", ".join(f"`{method}`" for method in route.handlers)


def _of_routes(routes: list[RouteEntry], told: Mapping[str, Any], method: str = "") -> Iterator[tuple[str, str]]:
    """Paths, and what is told of them; paths of which the same is told stand together."""
    paths: dict[str, list[str]] = {}
    for route in routes:
        schema = said_of(told, route.name, route.path)
        if schema is not None and (not method or method in route.handlers):
            paths.setdefault(_whole(schema), []).append(f"`{route.path}`")
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
