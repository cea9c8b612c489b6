"""The refusal of a loop, with its place in the user's file."""

import dataclasses

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import source_line

__all__ = ["LoopRefused", "Site"]


class LoopRefused(UnsupportedModule):
    """A loop over steps cannot become a scan; the message says which loop, and why.

    Attributes:
        site: Where it is.
    """

    def __init__(self, site: "Site", reason: str) -> None:
        super().__init__(f"the loop over steps at {site} cannot be exported: {reason}")
        self.site = site


@dataclasses.dataclass(frozen=True)
class Site:
    """A loop in the user's code.

    Attributes:
        file: Its file, as Python names it.
        line: Line of its `for`.
        carried: Names that its body reads before it writes them, and writes.
        last: Names that its body writes first, and that are read after the loop.
        assignable: Names of the function's own variables that are read in the body or written there.
    """

    file: str
    line: int
    carried: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    assignable: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return source_line(self.file, self.line)
