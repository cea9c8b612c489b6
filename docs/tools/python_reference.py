"""The part of the reference about the public Python names: signatures and docstrings as Markdown."""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from reference_text import cell, first_paragraph, paragraphs, table
from rnnserve.export import Publication

_METHODS: Mapping[str, tuple[str, ...]] = {
    "AsyncClient": (),
    "AsyncSession": (),
    "Server": ("address", "start", "reload", "drain", "stop"),
    "Settings": (),
    "StateTree": (),
}
"""Classes of which only these methods are listed; of all others every public method is."""

_NOT_CALLED = (
    *("AsyncClient", "AsyncSession", "Classification", "ExportResult"),
    *("ModelMetadata", "Prediction", "Session", "Settings", "TensorMetadata"),
)
"""Classes without a signature here: results, what clients make, and what is called like another class."""

_BRIEF = (
    *("AsyncClient", "AsyncSession", "choose_polling", "script", "script_bytes", "seal_with"),
    *("Classification", "ExportResult", "ModelMetadata", "TensorMetadata", "TensorMetadata.derived_sizes"),
)
"""What few need: the first paragraph of the docstring, and the names of attributes."""

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):\n((?:    .*\n|\n)+)", re.MULTILINE)


def public_names(area: str) -> Iterator[str]:
    """Yield the names in `__all__` of an area, and then its exceptions. The statuses have those of the client."""
    module = importlib.import_module(f"rnnserve.{area}")
    named = [(name, getattr(module, name)) for name in sorted(module.__all__, key=str.lower)]
    errors = [(name, what) for name, what in named if isinstance(what, type) and issubclass(what, BaseException)]
    for name, what in named:
        if (name, what) not in errors:
            yield from _described(name, what, "###")
    if errors and area == "client":
        names = ", ".join(f"`{name}`" for name, _ in errors)
        yield f"### Exceptions\n\n{names}: see [Statuses](errors-and-limits.md#statuses).\n"
    elif errors:
        rows = [(f"`{name}`", cell(first_paragraph(what))) for name, what in errors]
        yield from ("### Exceptions\n", *table(("exception", "meaning"), rows))


def _described(name: str, what: Any, level: str) -> Iterator[str]:  # noqa: ANN401 - any public name
    """Yield a heading, a signature and a docstring; of a class also the properties and methods."""
    yield f"{level} `{name}`\n"
    if signature := _signature(what):
        call = textwrap.fill(name.rpartition(".")[2] + signature, 100, subsequent_indent="    ")
        yield f"```text\n{call}\n```\n"
    yield from _docstring(name, what)
    if isinstance(what, type):
        of_bases = [vars(base) for base in reversed(what.__mro__) if base.__module__.startswith("rnnserve.")]
        members = {each: value for members in of_bases for each, value in members.items() if not each.startswith("_")}
        listed = {each: value for each, value in members.items() if each in _METHODS.get(name, members)}
        properties = {each: value for each, value in listed.items() if isinstance(value, property)}
        yield from (f"- `{each}`: {cell(first_paragraph(value))}" for each, value in properties.items())
        yield from [""] * bool(properties)
        for each, value in listed.items():
            if inspect.isfunction(value) and value.__doc__:
                yield from _described(f"{name}.{each}", value, f"{level}#")


def _docstring(name: str, what: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield a docstring without its example. Arguments that are attributes of `Publication` are described there."""
    if name in _BRIEF:
        fields = dataclasses.fields(what) if isinstance(what, type) and dataclasses.is_dataclass(what) else ()
        attributes = f" Attributes: {', '.join(f'`{field.name}`' for field in fields)}." if fields else ""
        yield f"{cell(first_paragraph(what))}{attributes}\n"
        return
    whole = inspect.cleandoc(what.__doc__) + "\n"
    yield from paragraphs(_SECTION.sub("", whole))
    if (
        isinstance(what, type)
        and name not in _NOT_CALLED
        and "\nArgs:\n" in (of_base := inspect.cleandoc(what.__mro__[1].__doc__ or ""))
    ):
        whole += "".join(found[0] for found in _SECTION.finditer(of_base + "\n"))
    for section, body in _SECTION.findall(whole):
        if section in ("Args", "Attributes"):
            yield from _arguments(name, textwrap.dedent(body))
        elif section == "Returns":
            yield f"Returns: {cell(' '.join(body.split()))}\n"
        elif section == "Raises":  # the table of exceptions has the rest
            errors = re.findall(r"^    (\w+):", body, re.MULTILINE)
            yield f"Raises: {', '.join(f'`{error}`' for error in errors)}\n"


def _arguments(name: str, body: str) -> Iterator[str]:
    known: Collection[str] = ()
    if name == "publish":
        known = {field.name for field in dataclasses.fields(Publication)} - {"module", "name"}
    elif name.startswith("Client.") and name != "Client.predict":  # as for `Client.predict`
        known = ("model", "sequences", "version", "timeout")
    for argument, said in re.findall(r"^(\w+): (.*(?:\n +.*)*)", body, re.MULTILINE):
        if argument not in known:
            yield f"- `{argument}`: {cell(' '.join(said.split()))}"
    yield ""
    if name == "publish":
        yield "The other arguments are the attributes of `Publication`.\n"


def _signature(what: Any) -> str:  # noqa: ANN401
    """Return the parameters with their defaults, as the source has them, or nothing for `_NOT_CALLED`."""
    if getattr(what, "__name__", "") in _NOT_CALLED:
        return ""
    if isinstance(what, type) and not dataclasses.is_dataclass(what):
        what = vars(next(base for base in what.__mro__ if "__init__" in vars(base)))["__init__"]
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(what))).body
    if isinstance(node, ast.ClassDef):
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        return f"({', '.join(f'{ast.unparse(one.target)}{_default_in(one.value)}' for one in fields)})"
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101 - public names are one or the other
    for argument in (*node.args.args, *node.args.kwonlyargs, node.args.vararg):
        if argument is not None:
            argument.annotation = None
    return f"({re.sub(r'^self(, |$)', '', ast.unparse(node.args))})"


def _default_in(value: ast.expr | None) -> str:
    """Return a field's default: its own, or the one that `dataclasses.field` has."""
    given = {one.arg: one.value for one in value.keywords} if isinstance(value, ast.Call) else {}
    if "default_factory" in given:
        return f"={ast.unparse(given['default_factory'])}()"
    value = given.get("default", value)
    return "" if value is None else f"={ast.unparse(value)}"
