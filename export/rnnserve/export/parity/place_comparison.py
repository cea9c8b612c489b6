"""Judging places that differ from eager's: right where the values among which they were chosen are.

Three things together are asked for, so that no wrong place passes:

- ONNX's values are as near to float64 as those of any output, by the same limits;
- the place is what PyTorch's own operator takes of ONNX's values: the first of equal ones, along the right axis;
- in float64 the values at ONNX's place and at eager's differ by no more than rounding, as it is found in eager, allows.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.compared_values import Choice, ComparedValues, EagerChoices
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.step_limits import limit_of
from rnnserve.export.parity.tolerances import ParityLimits

__all__ = ["PlaceComparison"]

_Array = npt.NDArray[Any]
_WHAT = "what is compared for"


@dataclasses.dataclass(frozen=True)
class _Lead:
    """How far apart the values at ONNX's and at eager's places are, in one batch.

    Attributes:
        batch: The inputs.
        name: Name of the output.
        largest: The largest values, in float64.
    """

    batch: InputBatch
    name: str
    largest: float


class PlaceComparison:
    """Judges the places that differ, and the values among which they were chosen.

    Attributes:
        accepted: Names of the outputs some of whose places differ and are judged by their values.
    """

    def __init__(
        self, reference: Reference, values: ComparedValues, limits: ParityLimits, failures: FailureCollector
    ) -> None:
        """Start with no batches.

        Args:
            reference: The module.
            values: Source of ONNX's values.
            limits: Limits for the device that the ONNX model runs on.
            failures: Collector to which differences are added.
        """
        self.accepted: set[str] = set()
        self._choices = EagerChoices(reference)
        self._values = values
        self._limits = limits
        self._failures = failures
        self._distances = Distances()
        self._leads: list[_Lead] = []

    def accept(self, batch: InputBatch, name: str, found: _Array) -> bool:
        """Look at an output that holds other places than eager's.

        Args:
            batch: The inputs.
            name: Name of the output.
            found: ONNX's places.

        Returns:
            Whether they follow from values that are judged instead; otherwise the output is wrong.
        """
        places, values = self._values(batch.inputs).get(name, (None, None))
        eager = self._choices.eager(batch.inputs).get(name)
        exact = self._choices.exact(batch.inputs).get(name)
        if places is None or values is None or eager is None or exact is None:
            return False
        if not np.array_equal(places, found) or not eager.chooses(values, found):
            return False
        expected, true = eager.values.numpy(), exact.values.numpy().astype(np.float64)
        if not all(np.isfinite(array).all() for array in (values, expected, true)):
            return False
        limit = limit_of(
            self._limits,
            batch.kind,
            found=values,
            eager=expected,
            exact=true,
            mask=None,
            moved=(choice[name].values.numpy() for choice in self._choices.moved(batch.inputs)),
        )
        self._failures.compare_values(f"onnx, {batch.kind}, {_WHAT}", name, values, expected, limit, batch)
        self._distances.add(batch.kind, name, batch.length, found=values, eager=expected, exact=true)
        self._leads.append(_Lead(batch, name, _lead(eager, found, true)))
        self.accepted.add(name)
        return True

    def judge(self) -> None:
        """Judge distances from float64 after every batch was compared, and how far apart the chosen values are."""
        for lead in self._leads:
            kind, length = lead.batch.kind, lead.batch.length
            row = self._distances.rows[kind, lead.name, length]
            if row.failure(self._limits) or lead.largest > self._allowed(lead):
                exact = self._choices.exact(lead.batch.inputs)[lead.name].values.numpy().astype(np.float64)
                for choices in self._choices.moved(lead.batch.inputs):
                    moved = choices[lead.name].values.numpy()
                    self._distances.add_moved(kind, lead.name, length, moved=moved, exact=exact)
        for lead in self._leads:
            allowed = self._allowed(lead)
            if lead.largest > allowed:
                check = f"onnx, {lead.batch.kind}, integers"
                text = (
                    f'{check}: "{lead.name}" of {lead.batch}: values at the places of ONNX and of eager are '
                    f"{lead.largest:.3g} apart in float64, {allowed:.3g} allowed"
                )
                self._failures.add_difference(check, lead.name, lead.largest, text)
        for (kind, name, length), row in self._distances.rows.items():
            failure = row.failure(self._limits)
            if failure:
                self._failures.add(f'onnx, {kind}: {_WHAT} "{name}" at sequence {length}: {failure}')

    def _allowed(self, lead: _Lead) -> float:
        """Rounding can exchange two values that differ by less than twice the errors that eager's have."""
        row = self._distances.rows[lead.batch.kind, lead.name, lead.batch.length]
        return 2 * (self._limits.sequence_rms_factor * row.rounding.largest + self._limits.step * row.scale)


def _lead(choice: Choice, found: _Array, exact: _Array) -> float:
    """The largest distance in float64 between the values at two sets of places."""
    at_found, at_eager = (choice.taken(exact, places) for places in (found, choice.places.numpy()))
    return float(np.abs(at_found - at_eager).max(initial=0.0))
