"""Everything that is wrong, collected: a proof that fails says all there is to say, once."""

import dataclasses
from typing import Any

import numpy.typing as npt

from rnnserve.export.errors import ParityError
from rnnserve.protos.differences import largest_difference

__all__ = ["Failures"]


@dataclasses.dataclass
class _Worst:
    distance: float
    text: str
    batches: int = 1


class Failures:
    """Failures as they were met; of values that differ, the worst batch for each check and tensor."""

    def __init__(self) -> None:
        self._texts: list[str | _Worst] = []
        self._worst: dict[tuple[str, str], _Worst] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Take a sentence down, once."""
        if text not in self._texts:
            self._texts.append(text)

    def refused(self, check: str, error: Exception, where: object) -> None:
        """Take down that a batch could not be run at all."""
        self._differs(check, "", 0.0, f"{check}: {where}: {error}")

    def form(self, check: str, name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], where: object) -> bool:
        """Compare dtypes and shapes; values can only be compared where this is True."""
        if found.dtype != expected.dtype:
            self.add(f'{check}, dtypes: "{name}" is {found.dtype}; expected {expected.dtype}')
        if found.shape != expected.shape:
            text = f'{check}, shapes: "{name}" of {where} is {found.shape}; expected {expected.shape}'
            self._differs(check + ", shapes", name, 0.0, text)
        return found.shape == expected.shape

    def near(
        self,
        check: str,
        name: str,
        found: npt.NDArray[Any],
        expected: npt.NDArray[Any],
        limit: float,
        where: object,
    ) -> None:
        """Compare values, one by one, of arrays of one shape; a limit of 0 asks for the same number."""
        worst = largest_difference(found, expected)
        if worst.distance <= limit:
            return
        text = (
            f'{check}: "{name}" at {list(worst.index)} of {where}: found {worst.found:.9g}, expected '
            f"{worst.expected:.9g}: {worst.distance:.3g} apart, {limit:.3g} allowed"
        )
        self._differs(check, name, worst.distance, text)

    def done(self) -> None:
        """Raise what was collected.

        Raises:
            ParityError: if anything was.
        """
        if not self._texts:
            return
        lines = []
        for entry in self._texts:
            if isinstance(entry, str):
                lines.append(entry)
            else:
                others = f" (and in {entry.batches - 1} other batches)" if entry.batches > 1 else ""
                lines.append(entry.text + others)
        raise ParityError(lines)

    def _differs(self, check: str, name: str, distance: float, text: str) -> None:
        known = self._worst.get((check, name))
        if known is None:
            self._worst[check, name] = _Worst(distance, text)
            self._texts.append(self._worst[check, name])
            return
        known.batches += 1
        if distance > known.distance:
            known.distance, known.text = distance, text
