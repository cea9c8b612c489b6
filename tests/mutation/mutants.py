"""Find the places that cosmic-ray's operators can change, and draw a sample."""

import ast
import dataclasses
import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cosmic_ray.ast
import cosmic_ray.mutating
import cosmic_ray.plugins

__all__ = ["Mutant", "draw", "find_mutants", "read_equivalents"]

# These two need names of variables; no-op is not a mutation.
_LEFT_OUT = ("VariableReplacer", "VariableInserter", "NoOp")
_NEVER_CHANGED = ("name", "string", "newline", "endmarker", "fstring_start", "fstring_string", "fstring_end")
_PUNCTUATION = frozenset("( ) [ ] { } : , . ; = -> @ ...".split())


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one line.

    Attributes:
        file: Path from the root of the tree.
        operator: Name of cosmic-ray's operator.
        occurrence: Which of the operator's positions in the file, counted from 0.
        line: Line number, counted from 1.
        column: Column in the line without its indentation, counted from 0.
        source: The line, without its indentation.
    """

    file: str
    operator: str
    occurrence: int
    line: int
    column: int
    source: str

    def mutate(self, code: str) -> str:
        """The whole file with the change."""
        operator = cosmic_ray.plugins.get_operator(self.operator)()
        mutated = cosmic_ray.mutating.mutate_code(code, operator, self.occurrence)
        assert isinstance(mutated, str)
        return mutated

    def key(self, code: str) -> tuple[str, str, str, str]:
        """What names the mutant in `equivalents.toml`, wherever its line moves: file, operator, line, changed line."""
        before, after = code.splitlines(), self.mutate(code).splitlines()
        changed = next((line for line, old in zip(after, before, strict=False) if line != old), "")
        return self.file, self.operator, self.source, changed.strip()


def find_mutants(root: Path, folders: list[str]) -> Iterator[Mutant]:
    """All mutants of the Python files below these folders."""
    operators = {
        name: cosmic_ray.plugins.get_operator(name)()
        for name in cosmic_ray.plugins.operator_names()
        if not name.endswith(_LEFT_OUT)
    }
    for path in sorted(file for folder in folders for file in (root / folder).rglob("*.py")):
        code = path.read_text()
        lines, annotations = code.splitlines(), _annotations(code)
        counts: Counter[str] = Counter()
        for node in cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(code)):
            if node.type in _NEVER_CHANGED or getattr(node, "value", None) in _PUNCTUATION:
                continue
            for name, operator in operators.items():
                for (line, column), _ in operator.mutation_positions(node):
                    if not any(start <= (line, column) < end for start, end in annotations):
                        source = lines[line - 1].strip()
                        indentation = len(lines[line - 1]) - len(lines[line - 1].lstrip())
                        file = path.relative_to(root).as_posix()
                        yield Mutant(file, name, counts[name], line, column - indentation, source)
                    counts[name] += 1


def draw(mutants: Iterator[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` mutants, no two of one place.

    Each place has a rank that depends on the seed, the file and the text of the line alone, so that a change elsewhere
    leaves most of the sample as it is. cosmic-ray replaces an operator by each of a dozen others: drawn by place, these
    count once.
    """
    repeated: Counter[object] = Counter()
    places: dict[tuple[object, ...], list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault((mutant.file, mutant.line, mutant.column), []).append(mutant)
    ranked = []
    for variants in places.values():
        first = variants[0]
        place = (first.file, first.source, first.column)
        rank = _hash(seed, *place, repeated[place])
        repeated[place] += 1
        ranked.append((rank, min(variants, key=lambda variant: _hash(seed, rank, variant.operator, variant.occurrence))))
    return [mutant for _, mutant in sorted(ranked, key=lambda pair: pair[0])[:count]]


def read_equivalents(path: Path) -> dict[tuple[str, str, str, str], str]:
    """The reason for each mutant that behaves as the original, by `Mutant.key`."""
    entries = tomllib.loads(path.read_text()).get("equivalent", [])
    return {(entry["file"], entry["operator"], entry["line"], entry["becomes"]): entry["reason"] for entry in entries}


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _annotations(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations stand, as (line, column) from and to: types are mypy's to check."""
    found = []
    for node in ast.walk(ast.parse(code)):
        for name in ("annotation", "returns"):
            annotation = getattr(node, name, None)
            if isinstance(annotation, ast.expr):
                end = (annotation.end_lineno or 0, annotation.end_col_offset or 0)
                found.append(((annotation.lineno, annotation.col_offset), end))
    return found
