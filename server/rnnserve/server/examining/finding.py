"""A finding about a machine, an installation or a configuration."""

import dataclasses
from collections.abc import Callable, Iterable

from rnnserve.server.errors import StartError

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "as_finding"]

OK, WARNING, PROBLEM = "ok", "warning", "problem"
"""Nothing is to be done; the server starts, and something may be missed; it does not start, or serves less."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding.

    Attributes:
        level: OK, WARNING or PROBLEM.
        about: What it is about, in a word.
        said: What was found.
        remedy: What to do; empty where nothing is to be done, or `said` has it.
    """

    level: str
    about: str
    said: str
    remedy: str = ""

    def line(self) -> str:
        """The finding as a line of text."""
        said = f"{self.said}: {self.remedy}" if self.remedy else self.said
        return f"{self.level:8} {self.about:13} {' '.join(said.split())}"


def as_finding(about: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Look at something; what keeps a server from starting is a problem, and so is what cannot be looked at.

    Args:
        about: Subject, in a word.
        look: A function that looks.
    """
    try:
        return list(look())
    except (StartError, OSError) as error:
        return [Finding(PROBLEM, about, str(error))]
