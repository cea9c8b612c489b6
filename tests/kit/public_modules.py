"""A contract for import-linter: other packages import exactly the public modules of a package.

The docstring of a package's `__init__` lists them in a paragraph of one of these forms::

    Public: nothing.
    Public: `__all__`.
    Public: `scheduler`, `statistics`.
    Public: `__all__`, `commands`.

`__all__` stands for the names in the package's own `__all__`. Everything else is a module or a package in the package.
To import a module deep inside, each package on the way must list the next one. Everything on the list must be used by
another package of the product, because tests don't count. Only the `__all__` of an area is also for users, so it may be
unused.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
from importlinter import Contract, ContractCheck, output

_LINE = re.compile(r"^Public: (nothing|`\w+`(?:,\s`\w+`)*)\.(?:\n\n|\n?\Z)", re.MULTILINE)
_NAME = re.compile(r"`(\w+)`")
_OWN_NAMES = "__all__"


@dataclass(frozen=True)
class Public:
    """The list of a package's public modules.

    Attributes:
        names: Modules and packages in it. "__all__" stands for the package's own names.
        has_own_names: Whether the package has an `__all__`.
    """

    names: tuple[str, ...]
    has_own_names: bool

    @property
    def words(self) -> str:
        """The names as in the docstring."""
        return ", ".join(f"`{name}`" for name in self.names) or "nothing"


def read_public(source: str) -> Public:
    """Read the public modules of a package from the text of its `__init__.py`.

    Raises:
        ValueError: If the docstring doesn't have the paragraph.
    """
    found = _LINE.search(ast.get_docstring(ast.parse(source)) or "")
    if found is None:
        raise ValueError(
            'has no paragraph "Public: …." in its docstring: write "Public: nothing.", or the modules that other '
            'packages import: "Public: `one`, `another`."'
        )
    return Public(tuple(_NAME.findall(found[1])), re.search(rf"^{_OWN_NAMES}\b", source, re.MULTILINE) is not None)


def find_violations(graph: grimp.ImportGraph, packages: dict[str, Public]) -> Iterator[str]:
    """Yield a message for each import of a module that isn't public, and for each public module that nobody imports.

    Args:
        graph: The imports between the modules of the product.
        packages: The public modules of each package, by the package's full name.
    """
    used: dict[str, set[str]] = {package: set() for package in packages}
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            for package, name in _entered(importer, imported, packages):
                used[package].add(name)
                if name not in packages[package].names:
                    yield _forbidden(graph, importer, imported, package, name, packages[package])
    for package, public in packages.items():
        is_area = package.count(".") == 1
        for name in public.names:
            if not (public.has_own_names if name == _OWN_NAMES else f"{package}.{name}" in graph.modules):
                yield f"{package} lists `{name}` as public, but does not contain it: remove the name."
            elif name not in used[package] and not (is_area and name == _OWN_NAMES):
                yield (
                    f"{package} lists `{name}` as public, but no other package imports it: remove the name from the "
                    f'paragraph "Public:" in the docstring of {package}.'
                )


def _entered(importer: str, imported: str, packages: dict[str, Public]) -> Iterator[tuple[str, str]]:
    """Yield the packages that an import enters, outermost first, each with the name that must be public in it."""
    parts = imported.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        if package in packages and not f"{importer}.".startswith(f"{package}."):
            yield package, parts[depth] if depth < len(parts) else _OWN_NAMES


def _forbidden(graph: grimp.ImportGraph, importer: str, imported: str, package: str, name: str, public: Public) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    lines = ", ".join(str(line) for line in sorted({detail["line_number"] for detail in details}))
    return (
        f"{importer} (line {lines}) imports {imported}, but {package} lists as public only {public.words}. Import one "
        f'of these. If other packages should use `{name}`, add it to the paragraph "Public:" in the docstring of '
        f"{package}."
    )


class PublicModules(Contract):
    """Other packages import exactly the public modules of a package."""

    type_name = "public_modules"

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter gives it
        """Compare the public modules of all packages with the imports."""
        packages, broken = {}, []
        ours = (module for module in graph.modules if not graph.is_module_squashed(module))
        for package in sorted(module for module in ours if graph.find_children(module)):
            try:
                packages[package] = read_public(_init_of(package).read_text(encoding="utf-8"))
            except ValueError as error:
                broken.append(f"{package} {error}")
        broken += find_violations(graph, packages)
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each violation on a line."""
        for line in check.metadata["broken"]:
            output.print_error(f"- {line}", bold=False)


def _init_of(package: str) -> Path:
    """Find the `__init__.py` of a package without running it, because its area may need packages that are missing."""
    area = importlib.util.find_spec(".".join(package.split(".")[:2]))  # imports only the namespace
    if area is None or area.origin is None:
        raise ValueError("has no __init__.py")
    return Path(area.origin).parent.joinpath(*package.split(".")[2:], "__init__.py")
