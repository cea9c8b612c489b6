"""Find the places that cosmic-ray's operators can change, and draw a sample."""

import ast
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cosmic_ray.ast
import cosmic_ray.mutating
import cosmic_ray.plugins

from campaigns.mutants.mutant import Mutant

# The first two need names of variables; no-op is not a mutation.
_UNUSED_OPERATORS = ("VariableReplacer", "VariableInserter", "NoOp")
_NEVER_CHANGED = ("name", "string", "newline", "endmarker", "fstring_start", "fstring_string", "fstring_end")
_PUNCTUATION = frozenset(["(", ")", "[", "]", "{", "}", ":", ",", ".", ";", "=", "->", "@", "..."])

_Site = tuple[str, str, int, int, int]
"""File, operator, occurrence of the operator in the file, line (from 1) and column (from 0)."""


def draw(root: Path, folders: list[str], count: int, seed: int) -> list[Mutant]:
    """Draw mutants, at most one per place.

    A place's rank depends on the seed, the file and the text of the line only, so a change elsewhere leaves most of the
    sample as it is. cosmic-ray replaces an operator by each of a dozen others; drawn by place, these count once.
    """
    ranked: dict[str, list[_Site]] = {}
    for file in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        if file.name.endswith(("_pb2.py", "_pb2_grpc.py")):
            continue
        lines, repeated = file.read_text().splitlines(), Counter[tuple[str, int]]()
        places: dict[tuple[int, int], list[_Site]] = {}
        for site in _sites(root, file):
            places.setdefault(site[3:], []).append(site)
        for (line, column), sites in places.items():
            text = lines[line - 1].strip()
            repeated[text, column] += 1
            rank = _hash(seed, file.relative_to(root).as_posix(), text, column, repeated[text, column])
            ranked[rank] = sorted(sites, key=lambda site, rank=rank: _hash(rank, site[1:3]))  # type: ignore[misc]
    drawn: list[Mutant] = []
    for _, sites in sorted(ranked.items()):
        if len(drawn) == count:
            break
        drawn += [mutant for site in sites if (mutant := _mutant(root, site, len(drawn))) is not None][:1]
    return drawn


def _sites(root: Path, path: Path) -> Iterator[_Site]:
    code = path.read_text()
    hidden = _unobservable(code)
    counts: Counter[str] = Counter()
    operators = {
        name: cosmic_ray.plugins.get_operator(name)()
        for name in cosmic_ray.plugins.operator_names()
        if not name.endswith(_UNUSED_OPERATORS)
    }
    for node in cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(code)):
        value = getattr(node, "value", None)
        if node.type in _NEVER_CHANGED or value in _PUNCTUATION:
            continue
        # The bare * before keyword-only arguments, which mypy checks; ast has no node for it.
        is_star = value == "*" and getattr(node.parent, "type", None) == "parameters"
        for name, operator in operators.items():
            for (line, column), _ in operator.mutation_positions(node):
                if not is_star and not any(start <= (line, column) < end for start, end in hidden):
                    yield path.relative_to(root).as_posix(), name, counts[name], line, column
                counts[name] += 1


def _mutant(root: Path, site: _Site, number: int) -> Mutant | None:
    """The mutant of a site; None if its code doesn't compile or doesn't change exactly one line."""
    file, name, occurrence, *_ = site
    code = (root / file).read_text()
    mutated = cosmic_ray.mutating.mutate_code(code, cosmic_ray.plugins.get_operator(name)(), occurrence)
    try:
        with warnings.catch_warnings(action="ignore"):  # `is` with a literal
            compile(mutated, file, "exec")
    except SyntaxError:
        return None
    before, after = code.splitlines(), mutated.splitlines()
    changed = [index for index, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
    if len(before) != len(after) or len(changed) != 1:
        return None
    (index,) = changed
    nth = before[:index].count(before[index])
    return Mutant(number, file, index + 1, before[index], after[index], nth)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _unobservable(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a change can't show in what a correct program does, as (line, column) from and to.

    These are annotations and protocols, which mypy checks, and the arguments `strict`, `frozen` and `slots`, which
    guard against programmers' mistakes.
    """
    found = []
    for node in ast.walk(ast.parse(code)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen", "slots"):
            parts.append(node.value)
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
            parts.append(node)
        found += [
            ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
            for part in parts
            if isinstance(part, ast.expr | ast.stmt)
        ]
    return found
