"""Runs at the start of every Python process of a mutation run, from PYTHONPATH: changes modules as they are imported.

With MUTANT_NUMBER, the mutant's file is compiled with its change. With MUTANT_HITS, the files of all mutants report to
that folder which test reaches which mutant. Files on disk stay as they are, so several mutants can run side by side in
one tree.
"""

import ast
import builtins
import importlib.util
import os
import sys
from collections import defaultdict
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_HERE = Path(__file__).resolve().parent
_hits: set[tuple[int, str]] = set()


def _load_mutants() -> dict[str, list[Any]]:
    spec = importlib.util.spec_from_file_location("_mutant", _HERE.parent / "mutant.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_mutant"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    by_file = defaultdict(list)
    for mutant in module.read_drawn():
        if os.environ.get("MUTANT_NUMBER", str(mutant.number)) == str(mutant.number):
            by_file[mutant.file].append(mutant)
    return dict(by_file)


def _reach(number: int) -> None:
    """Note that the current test, or the fixture being set up, reaches the mutant."""
    hit = (number, os.environ.get("MUTANT_CONTEXT", ""))
    if hit not in _hits:
        _hits.add(hit)
        line = f"{number}\t{hit[1]}\n".encode()
        target = os.open(
            Path(os.environ["MUTANT_HITS"]) / f"{os.getpid()}.hits", os.O_CREAT | os.O_APPEND | os.O_WRONLY
        )
        try:
            os.write(target, line)
        finally:
            os.close(target)


class _Probes(ast.NodeTransformer):
    """Calls `_reach` before the statement of each mutant. If it is outside functions, also in every function."""

    def __init__(self, statements: dict[ast.stmt, list[int]], everywhere: list[int]) -> None:
        self._statements, self._everywhere = statements, everywhere

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                setattr(
                    node, field, [new for each in body for new in (*self._calls(self._statements.get(each, [])), each)]
                )
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            node.body[documented:documented] = self._calls(self._everywhere)
        return node

    @staticmethod
    def _calls(numbers: list[int]) -> list[ast.stmt]:
        return [ast.parse(f"__import__('builtins').__mutant_reached__({number})").body[0] for number in numbers]


def _with_probes(code: str, mutants: list[Any]) -> ast.Module:
    tree: ast.Module = ast.parse(code)
    statements: dict[ast.stmt, list[int]] = defaultdict(list)
    everywhere: list[int] = []
    for mutant in mutants:
        line = mutant.line_in(code)
        if line is None:
            continue
        inside = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.stmt)
            and min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            <= line
            <= (node.end_lineno or 0)
        ]
        statements[min(inside, key=lambda node: (node.end_lineno or 0) - node.lineno)].append(mutant.number)
        functions = (node for node in inside if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        if not any(node.body[0].lineno <= line for node in functions):
            everywhere.append(mutant.number)
    _Probes(statements, everywhere).visit(tree)
    return ast.fix_missing_locations(tree)


_mutants = _load_mutants()
_get_code = SourceFileLoader.get_code


def _mutated_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
    path = self.path.replace(os.sep, "/")
    mutants = next((mutants for file, mutants in _mutants.items() if path.endswith("/" + file)), None)
    if mutants is None:
        return _get_code(self, fullname)
    code = self.get_data(self.path).decode()
    if "MUTANT_HITS" in os.environ:
        return compile(_with_probes(code, mutants), self.path, "exec", dont_inherit=True)
    return compile(mutants[0].apply(code), self.path, "exec", dont_inherit=True)


vars(builtins)["__mutant_reached__"] = _reach
if "MUTANT_HITS" in os.environ or "MUTANT_NUMBER" in os.environ:
    SourceFileLoader.get_code = _mutated_code  # type: ignore[method-assign, assignment]

# There is one sitecustomize per process: run the one that this file hides.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _HERE]
sys.modules.pop("sitecustomize", None)
if importlib.util.find_spec("sitecustomize") is not None:
    importlib.import_module("sitecustomize")
