"""Run a target on mutated inputs. It must not raise unexpected errors, hang, or use much memory."""

import contextlib
import dataclasses
import random
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

_CORPUS = Path(__file__).parent / "corpus"

_MOST_SECONDS = 5.0
"""For an input. The slowest one takes some milliseconds on an idle machine."""

_MOST_BYTES = 128 << 20
"""By which an input may raise the most memory that the process ever had: the seeds have some kilobytes."""

_MOST_INPUT = 1 << 14
"""Bytes of an input: what is larger takes its time without saying more."""

_KEPT = 512
"""Inputs that mutations start from."""


class FuzzTarget(Protocol):
    """A reader of untrusted bytes."""

    @property
    def name(self) -> str:
        """The target's name, which is also the name of its folder in the corpus."""

    def seeds(self) -> list[bytes]:
        """The initial inputs, besides the corpus."""

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        """Change an input."""

    def read(self, data: bytes) -> None:
        """Read an input. Ignores the documented errors.

        Raises:
            Exception: Any other error, and AssertionError if the result is wrong.
        """


class Hang(Exception):
    """An input took too long."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """An input that the target handles wrongly.

    Attributes:
        data: The input.
        said: The failure, with a traceback if there is one.
    """

    data: bytes
    said: str

    def __str__(self) -> str:
        shown = self.data.hex()
        return f"{self.said}\ninput ({len(self.data)} bytes): {shown[:2000]}{'…' if len(shown) > 2000 else ''}"


def corpus_of(target: FuzzTarget) -> list[bytes]:
    """Read the target's inputs in the corpus, ordered by name."""
    return [path.read_bytes() for path in sorted((_CORPUS / target.name).iterdir())]


def campaign(target: FuzzTarget, seed: int) -> Iterator[tuple[bytes, Finding | None]]:
    """Yield inputs endlessly, each with the finding or None after the target has read it.

    Args:
        target: The target.
        seed: Random seed.
    """
    chance = random.Random(seed)
    kept = [*target.seeds(), *corpus_of(target)]
    while True:
        data = target.mutate(chance.choice(kept), kept, chance)[:_MOST_INPUT]
        yield data, try_input(target, data)
        if len(kept) < _KEPT:
            kept.append(data)
        elif chance.random() < 0.1:
            kept[chance.randrange(len(kept))] = data


def try_input(target: FuzzTarget, data: bytes) -> Finding | None:
    """Let the target read an input. Return the finding, or None."""
    before = _peak_bytes()
    try:
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from numpy, about unusual headers
            target.read(data)
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        return Finding(data, traceback.format_exc())
    grown = _peak_bytes() - before
    return Finding(data, f"took {grown >> 20} MB") if grown > _MOST_BYTES else None


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raise Hang after some seconds. For the main thread only."""

    def interrupt(*_: object) -> None:
        raise Hang(f"took more than {_MOST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _peak_bytes() -> int:
    """Return the peak of this process's resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
