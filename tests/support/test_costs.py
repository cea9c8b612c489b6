"""What a test costs, seen by what it imports and by its fixtures; marks come from here, and are set by nobody's hand.

`torch`: its file, or a module of the tests that the file imports, imports torch, onnx or what needs them.
`process`: these import what starts processes.
`served`: one of its fixtures trains, publishes or loads models.
"""

import ast
import functools
import itertools
from collections.abc import Iterable
from pathlib import Path

__all__ = ["MARKS", "marks_of_file", "marks_of_fixtures"]

MARKS = {
    "torch": "its file needs torch or onnx",
    "process": "its file starts processes",
    "served": "it needs trained or published models",
}

_TORCH = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "rnnserve.export", "rnnserve.models")
_PROCESS = ("subprocess", "multiprocessing")
_SERVED = frozenset({"kept_artifacts", "models", "zoo"})

_ROOTS = Path(__file__).parents[1:3]  # as `pythonpath` has them in pyproject.toml


def marks_of_file(path: Path) -> frozenset[str]:
    """Marks that hold for all tests of a file or, of a conftest.py, of a folder.

    What a conftest.py imports within its fixtures does not count: see `marks_of_fixtures`.
    """
    if path.suffix != ".py":  # a document, whose code blocks are tests
        return frozenset()
    names = _imports(path, everywhere=path.name != "conftest.py")
    found = {"torch": _TORCH, "process": _PROCESS}
    return frozenset(mark for mark, modules in found.items() if any(_is_in(name, modules) for name in names))


def marks_of_fixtures(names: Iterable[str]) -> frozenset[str]:
    """Marks of a test with these fixtures, and those that they need."""
    return frozenset({"served"} if _SERVED & set(names) else ())


def _is_in(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@functools.cache
def _imports(path: Path, *, everywhere: bool) -> frozenset[str]:
    """Names of what a file imports, anywhere or outside of functions, and what the tests' modules among it import."""
    tree = ast.parse(path.read_bytes())
    names: set[str] = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    for root, name in itertools.product(_ROOTS, list(names)):
        module = root.joinpath(*name.split("."))
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.exists() and file != path:
                names |= _imports(file, everywhere=everywhere)
    return frozenset(names)
