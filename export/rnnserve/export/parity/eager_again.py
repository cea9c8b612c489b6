"""Runs of eager with inputs or weights moved by an ulp: what rounding does to a module, where one run does not tell.

Of the inputs a pair of runs of all batches is often enough; the others are made where it is not.
"""

from collections.abc import Callable, Iterator

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.distances import Distances
from rnnserve.export.parity.input_batches import InputBatch, with_rows
from rnnserve.export.parity.near_eager import MEASURED_ROWS
from rnnserve.export.parity.non_finite_places import without_non_finite
from rnnserve.export.parity.reference import MOVED, MOVES, Reference
from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.export.tensor_shapes import mask_before_lengths

__all__ = ["EagerAgain"]

_FIRST, _OTHERS = MOVES[:2], MOVES[2:]


class EagerAgain:
    """Adds to distances what eager gives when it is run again."""

    def __init__(self, model: DescribedModel, reference: Reference, limits: ParityLimits, distances: Distances) -> None:
        """Prepare.

        Args:
            model: Model that is compared.
            reference: Module of the model.
            limits: Limits for the device that the ONNX model runs on.
            distances: Distances of every batch, which are judged.
        """
        self._model = model
        self._reference = reference
        self._limits = limits
        self._distances = distances

    def move_inputs(self, batches: list[InputBatch]) -> None:
        """Run eager on moved inputs where values lie too far from float64, until they do not, or often enough.

        Where there is no float64, some rows of those that do not, too: the record says how far rounding takes eager.

        Args:
            batches: Batches of one kind and length.
        """
        if self._passes(batches):
            if self._reference.exact_by == MOVED:
                self._run(with_rows(batches, MEASURED_ROWS), self._reference.moved)
            return
        self._run(batches, lambda inputs: self._reference.moved(inputs, _FIRST))
        if not self._passes(batches):
            self._run(batches, lambda inputs: self._reference.moved(inputs, _OTHERS))

    def move_weights(self, batches: list[InputBatch]) -> None:
        """Run eager with moved weights on batches of one kind and length."""
        self._run(batches, self._reference.moved_weights)

    def _passes(self, batches: list[InputBatch]) -> bool:
        keys = {(batch.kind, batch.length) for batch in batches}
        return not any(row.failure(self._limits) for key, row in self._distances.rows.items() if key[::2] in keys)

    def _run(self, batches: list[InputBatch], moved_runs: Callable[[Arrays], Iterator[Arrays]]) -> None:
        for batch in batches:
            exact = self._reference.exact(batch.inputs)
            for outputs in moved_runs(batch.inputs):
                for tensor in self._model.outputs:
                    moved, key = outputs[tensor.name], (batch.kind, tensor.name, batch.length)
                    if key in self._distances.rows:
                        mask = mask_before_lengths(tensor, moved.shape, batch.inputs, self._model.lengths)
                        mask, (moved, expected) = without_non_finite(mask, moved, exact[tensor.name])
                        self._distances.add_moved(*key, moved=moved, exact=expected, mask=mask)
