"""The order in which versions are tried: what is next, and when what did not pass has its turn again.

Each model's versions are tried newest first, one at a time: of a model whose version may be about to serve it is not
known what else it needs.

A version that takes long, or for ever, is to keep no other from serving. So each is given a short time first. Those
that take longer are tried again after all others, alone, each time with four times as long, up to the limit.

Of trials at the same time, one may take all the memory that a version may have, and the others little. What does not
pass with little has its turn again with all: so no version is refused since others are tried beside it.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable

from rnnserve.protos import model_config_pb2

__all__ = ["FIRST_SECONDS", "Candidate", "LoadOrder"]

FIRST_SECONDS = 0.5
"""Seconds that a version may compute in its first trial. Small models take 0.01 to 0.1."""

_LONGER = 4
"""How many times as long as the last one each further trial is."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A version that may come to serve.

    Attributes:
        name: The model's.
        version: Its number.
        config: The model's config.pbtxt.
        wanted: How many versions of the model are to serve.
        seconds: How long its next trial may compute.
        is_slow: Whether an earlier trial was too short.
        is_small: Whether its trial may take little memory.
        needs_all: Whether its next trial has to wait until it may take all, since one with little was not enough.
    """

    name: str
    version: int
    config: model_config_pb2.ModelConfig
    wanted: int
    seconds: float
    is_slow: bool = False
    is_small: bool = False
    needs_all: bool = False


class LoadOrder:
    """Versions that wait to be tried, that are tried, or that have passed and do not serve yet. For one thread."""

    def __init__(self, timeout: float) -> None:
        """Begin without versions.

        Args:
            timeout: Seconds that a version may take at most.
        """
        self._timeout = timeout
        self._waiting: deque[Candidate] = deque()
        self._tried: dict[str, Candidate] = {}  # by the model's name
        self._passed: set[str] = set()

    def add(self, name: str, versions: Iterable[int], config: model_config_pb2.ModelConfig, wanted: int) -> None:
        """Add a model's versions, newest first, of which as many as `wanted` are to serve."""
        seconds = min(FIRST_SECONDS, self._timeout)
        self._waiting += [Candidate(name, version, config, wanted, seconds) for version in versions]

    @property
    def waiting(self) -> list[Candidate]:
        """The versions that wait."""
        return list(self._waiting)

    @property
    def tries_slow(self) -> bool:
        """Whether a version is tried for which an earlier trial was too short."""
        return any(candidate.is_slow for candidate in tuple(self._tried.values()))

    def next(self) -> Candidate | None:
        """Take the version that is to be tried next, or None where none may be now; `end` ends its turn."""
        all_is_taken = any(not candidate.is_small for candidate in self._tried.values())
        for candidate in self._waiting:
            if candidate.name in self._tried or candidate.name in self._passed:
                continue
            if (candidate.needs_all and all_is_taken) or (candidate.is_slow and self._tried):
                continue
            self._waiting.remove(candidate)
            is_last = not self._waiting and not self._tried  # none waits for this one
            seconds = self._timeout if is_last else candidate.seconds
            chosen = dataclasses.replace(candidate, seconds=seconds, is_small=all_is_taken)
            self._tried[chosen.name] = chosen
            return chosen
        return None

    def passed(self, candidate: Candidate) -> None:
        """Note that a version has passed: it is about to serve."""
        del self._tried[candidate.name]
        self._passed.add(candidate.name)

    def end(self, candidate: Candidate) -> None:
        """End a version's turn: it serves, or has been refused."""
        self._tried.pop(candidate.name, None)
        self._passed.discard(candidate.name)

    def put_back(self, candidate: Candidate, *, needs_all: bool) -> None:
        """Let a version have its turn again, before all others.

        Args:
            candidate: The version.
            needs_all: Whether its next trial may take all the memory there is for one.
        """
        self.end(candidate)
        self._waiting.appendleft(dataclasses.replace(candidate, needs_all=needs_all))

    def too_slow(self, candidate: Candidate) -> bool:
        """Let a version that took too long have its turn again, after all others; False if it had the limit."""
        self.end(candidate)
        if candidate.seconds >= self._timeout:
            return False
        seconds = min(_LONGER * candidate.seconds, self._timeout)
        self._waiting.append(dataclasses.replace(candidate, seconds=seconds, is_slow=True))
        return True
