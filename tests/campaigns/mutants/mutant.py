"""A mutant, and the file that keeps a sample of them. Every Python process of a run imports this: keep it small."""

import dataclasses
import json
from pathlib import Path

DRAWN = Path(__file__).with_name("drawn.json")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One changed line of one file.

    Attributes:
        number: Position in the sample, counted from 0.
        file: Path from the root of the tree.
        line: Line number when the mutant was drawn, counted from 1. Only for readers: the text finds the line.
        before: The line in the source.
        after: The line in the mutant.
        nth: Number of equal lines above it in the file.
        equivalent: Why no test can notice the change; empty if one can.
    """

    number: int
    file: str
    line: int
    before: str
    after: str
    nth: int
    equivalent: str = ""

    def __str__(self) -> str:
        return f"{self.number}, {self.file}:{self.line}\n-{self.before}\n+{self.after}"

    def line_in(self, code: str) -> int | None:
        """The number of the line in this version of the file, counted from 1; None if the line is gone."""
        places = [index for index, line in enumerate(code.splitlines(), 1) if line == self.before]
        return places[self.nth] if self.nth < len(places) else None

    def apply(self, code: str) -> str:
        """The file with the change.

        Raises:
            ValueError: If this version of the file doesn't have the line.
        """
        line = self.line_in(code)
        if line is None:
            raise ValueError(f"{self.file} no longer has the line {self.before.strip()!r}")
        lines = code.splitlines()
        lines[line - 1] = self.after
        return "\n".join(lines) + "\n"


def read_drawn(path: Path = DRAWN) -> list[Mutant]:
    """Read the sample."""
    return [Mutant(**entry) for entry in json.loads(path.read_text())]


def write_drawn(mutants: list[Mutant], path: Path = DRAWN) -> None:
    """Write the sample, one mutant per line."""
    rows = ",\n".join(json.dumps(dataclasses.asdict(mutant)) for mutant in mutants)
    path.write_text(f"[\n{rows}\n]\n")
