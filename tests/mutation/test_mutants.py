"""What is changed, and what is not since it could not show."""

import pytest

pytest.importorskip("cosmic_ray", reason="`make mutants` installs cosmic-ray, and runs these tests first")

from mutation.mutants import draw, find_mutants

CODE = '''
import dataclasses
from typing import Protocol


class Named(Protocol):
    @property
    def name(self) -> str:
        """Its name."""


@dataclasses.dataclass(frozen=True)
class Point:
    x: int | None = 3

    def scaled(self, by: int, *, up: bool = True) -> "int | None":
        return self.x * by if up else self.x
'''


def mutants(tmp_path, code):
    (tmp_path / "code.py").write_text(code)
    return list(find_mutants(tmp_path, ["."]))


def test_each_mutant_changes_its_own_line(tmp_path):
    """Blank lines left out: with a decorator those before it are gone."""
    before = [line.strip() for line in CODE.splitlines() if line]
    for mutant in mutants(tmp_path, CODE):
        after = [line.strip() for line in mutant.mutate(CODE).splitlines() if line]
        assert next(old for old, new in zip(before, after, strict=False) if old != new) == mutant.source


def test_annotations_protocols_and_guards_are_not_changed(tmp_path):
    changed = {mutant.source for mutant in mutants(tmp_path, CODE)}
    assert changed == {
        "@dataclasses.dataclass(frozen=True)",  # removed as a whole
        "x: int | None = 3",
        'def scaled(self, by: int, *, up: bool = True) -> "int | None":',
        "return self.x * by if up else self.x",
    }
    places = {(mutant.source, mutant.column) for mutant in mutants(tmp_path, CODE)}
    assert len(places) == 4 + 1  # two in the last line: the operator, and the condition


def test_a_sample_has_each_place_once_and_is_the_same_for_a_seed(tmp_path):
    found = mutants(tmp_path, CODE)
    drawn = draw(found, 99, 1, tmp_path)
    assert len(drawn) == len({(mutant.line, mutant.column) for mutant in found}) > len(draw(found, 2, 1, tmp_path)) == 2
    assert draw(found, 3, 7, tmp_path) == draw(found, 99, 7, tmp_path)[:3]
