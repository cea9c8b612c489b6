"""Find the places that cosmic-ray's operators can change, and draw a sample."""

import ast
import dataclasses
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cosmic_ray.ast
import cosmic_ray.mutating
import cosmic_ray.plugins

from mutation.equivalents import Key

__all__ = ["Mutant", "draw", "find_mutants"]

# These two need names of variables; no-op is not a mutation.
_LEFT_OUT = ("VariableReplacer", "VariableInserter", "NoOp")
_NEVER_CHANGED = ("name", "string", "newline", "endmarker", "fstring_start", "fstring_string", "fstring_end")
_PUNCTUATION = frozenset(["(", ")", "[", "]", "{", "}", ":", ",", ".", ";", "=", "->", "@", "..."])


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

    def key(self, code: str) -> Key:
        """What names the mutant in `equivalents.toml`; `code` is the whole file."""
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
        lines, left_out = code.splitlines(), _unobservable(code)
        counts: Counter[str] = Counter()
        for node in cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(code)):
            if node.type in _NEVER_CHANGED or getattr(node, "value", None) in _PUNCTUATION:
                continue
            # The bare * before arguments that are given by name, which mypy checks; ast has no node for it.
            is_star = getattr(node, "value", None) == "*" and getattr(node.parent, "type", None) == "parameters"
            for name, operator in operators.items():
                for (line, column), _ in operator.mutation_positions(node):
                    if not is_star and not any(start <= (line, column) < end for start, end in left_out):
                        source = lines[line - 1].strip()
                        indentation = len(lines[line - 1]) - len(lines[line - 1].lstrip())
                        file = path.relative_to(root).as_posix()
                        yield Mutant(file, name, counts[name], line, column - indentation, source)
                    counts[name] += 1


def draw(mutants: Iterable[Mutant], count: int, seed: int, root: Path) -> list[Mutant]:
    """`count` mutants, no two of one place.

    Each place has a rank that depends on the seed, the file and the text of the line alone, so that a change elsewhere
    leaves most of the sample as it is. cosmic-ray replaces an operator by each of a dozen others: drawn by place, these
    count once.
    """
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault((mutant.file, mutant.line, mutant.column), []).append(mutant)
    repeated: Counter[tuple[str, str, int]] = Counter()
    ranked: dict[str, list[Mutant]] = {}
    for variants in places.values():
        place = (variants[0].file, variants[0].source, variants[0].column)
        repeated[place] += 1
        rank = _hash(seed, place, repeated[place])
        by_hash = {_hash(rank, variant.operator, number): variant for number, variant in enumerate(variants)}
        ranked[rank] = [by_hash[key] for key in sorted(by_hash)]
    drawn: list[Mutant] = []
    for _, variants in sorted(ranked.items()):
        if len(drawn) == count:
            break
        codes = ((variant, variant.mutate((root / variant.file).read_text())) for variant in variants)
        drawn += [variant for variant, code in codes if _compiles(code)][:1]
    return drawn


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _unobservable(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a change cannot show in what a correct program does, as (line, column) from and to.

    These are annotations and protocols, which mypy checks, and the arguments `strict`, `frozen` and `slots`, which
    guard against mistakes of programmers.
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


def _compiles(code: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # `is` with a literal
            compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True
