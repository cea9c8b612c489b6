"""A contract for import-linter: what others import of a package is what the package's door names.

A package is a room, and the docstring of its `__init__` is the door. Its last paragraph but for those about threads and
gRPC has one of these forms::

    Door: nothing.
    Door: `__all__`.
    Door: `scheduler`, `statistics`.
    Door: `__all__`, `commands`.

"Nothing" is imported from outside; or the names that the package itself has in `__all__`; or the modules and packages
in it that are named. What a module outside imports from deep inside has to pass each door on the way: each names the
next. What the door names is imported from outside, by the product itself: tests do not count. Only the `__all__` of an
area is for users, too, and need not be.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
from importlinter import Contract, ContractCheck, output

_LINE = re.compile(r"^Door: (nothing|`\w+`(?:,\s`\w+`)*)\.(?:\n\n|\n?\Z)", re.MULTILINE)
_NAME = re.compile(r"`(\w+)`")
_OWN_NAMES = "__all__"


@dataclass(frozen=True)
class Door:
    """What others may import of a package.

    Attributes:
        names: Modules and packages in it; "__all__" stands for the package's own names.
        has_own_names: Whether the package has an `__all__`.
    """

    names: tuple[str, ...]
    has_own_names: bool

    @property
    def words(self) -> str:
        """The names as the door has them."""
        return ", ".join(f"`{name}`" for name in self.names) or "nothing"


def read_door(source: str) -> Door:
    """Read the door of a package.

    Args:
        source: The text of its `__init__.py`.

    Raises:
        ValueError: If the docstring has no such paragraph; the message says what to write.
    """
    found = _LINE.search(ast.get_docstring(ast.parse(source)) or "")
    if found is None:
        raise ValueError(
            'has no paragraph "Door: …." in its docstring: write "Door: nothing.", or the modules that others import: '
            '"Door: `one`, `another`."'
        )
    return Door(tuple(_NAME.findall(found[1])), re.search(rf"^{_OWN_NAMES}\b", source, re.MULTILINE) is not None)


def broken_doors(graph: grimp.ImportGraph, doors: dict[str, Door]) -> Iterator[str]:
    """Say of each import that a door forbids, and of each name at a door that is not needed, what to do.

    Args:
        graph: The imports between the modules of the product.
        doors: The door of each package, by the package's full name.
    """
    used: dict[str, set[str]] = {package: set() for package in doors}
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            for package, name in _doors_between(importer, imported, doors):
                used[package].add(name)
                if name not in doors[package].names:
                    yield _forbidden(graph, importer, imported, package, name, doors[package])
    for package, door in doors.items():
        is_area = package.count(".") == 1
        for name in door.names:
            if not (door.has_own_names if name == _OWN_NAMES else f"{package}.{name}" in graph.modules):
                yield f"The door of {package} names `{name}`, and there is no such thing in it: take the name out."
            elif name not in used[package] and not (is_area and name == _OWN_NAMES):
                yield (
                    f"The door of {package} names `{name}`, and no module outside imports it: take the name out of the "
                    f'paragraph "Door:" in the docstring of {package}.'
                )


def _doors_between(importer: str, imported: str, doors: dict[str, Door]) -> Iterator[tuple[str, str]]:
    """The packages that an import enters, from outside in, each with the name at its door that this needs."""
    parts = imported.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        if package in doors and not f"{importer}.".startswith(f"{package}."):
            yield package, parts[depth] if depth < len(parts) else _OWN_NAMES


def _forbidden(graph: grimp.ImportGraph, importer: str, imported: str, package: str, name: str, door: Door) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    lines = ", ".join(str(line) for line in sorted({detail["line_number"] for detail in details}))
    return (
        f"{importer} (line {lines}) imports {imported}, and the door of {package} names {door.words}. "
        f"Import what the door names; or, if others should use `{name}`, write it into the paragraph "
        f'"Door:" in the docstring of {package}.'
    )


class DoorContract(Contract):
    """Other rooms import what a room's door names, and all of that."""

    type_name = "doors"

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter gives it
        """Compare the doors of all packages with the imports."""
        doors, broken = {}, []
        ours = (module for module in graph.modules if not graph.is_module_squashed(module))
        for package in sorted(module for module in ours if graph.find_children(module)):
            try:
                doors[package] = read_door(_init_of(package).read_text(encoding="utf-8"))
            except ValueError as error:
                broken.append(f"{package} {error}")
        broken += broken_doors(graph, doors)
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what is wrong, a line each."""
        for line in check.metadata["broken"]:
            output.print_error(f"- {line}", bold=False)


def _init_of(package: str) -> Path:
    """The `__init__.py` of a package, found without running it: the areas need packages that may not be installed."""
    area = importlib.util.find_spec(".".join(package.split(".")[:2]))  # imports no more than the namespace
    if area is None or area.origin is None:
        raise ValueError("has no __init__.py")
    return Path(area.origin).parent.joinpath(*package.split(".")[2:], "__init__.py")
