"""Collecting everything that differs, so that a proof that fails says all of it in one error."""

import dataclasses
from typing import Any

import numpy.typing as npt

from rnnserve.export.errors import ParityError
from rnnserve.export.parity.tolerances import EAGER_ROUNDING
from rnnserve.protos.differences import largest_difference

__all__ = ["SCRIPT_BITS", "FailureCollector", "ScriptRounds"]

SCRIPT_BITS = "torchscript, bit for bit"
"""Name of the check of a script's values."""


class ScriptRounds(ParityError):
    """All that differs is TorchScript, in its last bits: it computes in another order than eager."""


@dataclasses.dataclass
class _Worst:
    check: str
    distance: float
    text: str
    batches: int = 1


class FailureCollector:
    """Failures in the order in which they came; of values that differ, the worst batch for each check and tensor."""

    def __init__(self) -> None:
        self._failures: list[str | _Worst] = []
        self._worst: dict[tuple[str, str], _Worst] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def add(self, text: str) -> None:
        """Add a sentence, unless it was added before."""
        if text not in self._failures:
            self._failures.append(text)

    def compare_forms(
        self, check: str, name: str, found: npt.NDArray[Any], expected: npt.NDArray[Any], where: object
    ) -> bool:
        """Compare dtypes and shapes, and add what differs; give whether the shapes are the same."""
        if found.dtype != expected.dtype:
            self.add(f'{check}, dtypes: "{name}" is {found.dtype}; expected {expected.dtype}')
        if found.shape != expected.shape:
            text = f'{check}, shapes: "{name}" of {where} is {found.shape}; expected {expected.shape}'
            self.add_difference(check + ", shapes", name, 0.0, text)
        return found.shape == expected.shape

    def compare_values(
        self,
        check: str,
        name: str,
        found: npt.NDArray[Any],
        expected: npt.NDArray[Any],
        limit: float,
        where: object,
        advice: str = "",
    ) -> None:
        """Compare values of one shape one by one, and add the largest difference if it is beyond the limit."""
        worst = largest_difference(found, expected)
        if worst.distance <= limit:
            return
        text = (
            f'{check}: "{name}" at {list(worst.index)} of {where}: found {worst.found:.9g}, expected '
            f"{worst.expected:.9g}: {worst.distance:.3g} apart, {limit:.3g} allowed" + (f". {advice}" if advice else "")
        )
        self.add_difference(check, name, worst.distance, text)

    def add_difference(self, check: str, name: str, distance: float, text: str) -> None:
        """Add a failure of one batch; of a check and a tensor, the batch of the largest distance is told."""
        known = self._worst.get((check, name))
        if known is None:
            self._worst[check, name] = _Worst(check, distance, text)
            self._failures.append(self._worst[check, name])
            return
        known.batches += 1
        if distance > known.distance:
            known.distance, known.text = distance, text

    def raise_if_any(self) -> None:
        """Raise what was collected, as `ScriptRounds` if that is rounding of a script."""
        if not self._failures:
            return
        lines = []
        for failure in self._failures:
            if isinstance(failure, str):
                lines.append(failure)
            else:
                others = f" (and in {failure.batches - 1} other batches)" if failure.batches > 1 else ""
                lines.append(failure.text + others)
        raise (ScriptRounds if all(map(_is_rounding, self._failures)) else ParityError)(lines)


def _is_rounding(failure: str | _Worst) -> bool:
    return isinstance(failure, _Worst) and failure.check == SCRIPT_BITS and failure.distance <= EAGER_ROUNDING
