"""What the limits of `rnnserve.export.parity.tolerances` would have to be, found by what they judge.

The names are those of `ParityLimits`. Values are upper bounds: the rules also forgive what rounding does to eager
itself. The factor of whole sequences is what it would have to be without any floor; their floor is what it would have
to be with the factor of the table.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.parity.batches import input_batches
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.value_comparison import DistanceRow, Distances
from rnnserve.export.tensors import lengths_inputs, mask_before_lengths
from rnnserve.protos.differences import coarseness, largest_difference, scale
from rnnserve.protos.golden import Case, Inference

__all__ = ["Needed", "needed_by_batches", "needed_by_cases"]

Needed = dict[str, float]
"""By the name of a limit, the smallest value of it with which everything would have held; infinite for NaN."""


def needed_by_batches(
    model: DescribedModel, reference: Reference, runs: Mapping[str, Inference], *, seed: int = 0
) -> dict[str, Needed]:
    """Run the batches of the proof.

    Args:
        model: The model that is run.
        reference: Module of the model.
        runs: The ONNX model, by the device that it runs on.
        seed: Seed of the inputs; the proof has 0.

    Returns:
        `step`, `sample`, `sequence_rms_factor` and `sequence_rms_floor`, by device.
    """
    lengths = lengths_inputs(model.inputs)
    needed: dict[str, Needed] = {device: {} for device in runs}
    distances = {device: Distances() for device in runs}
    for batch in input_batches(model, seed):
        eager, exact = reference.eager(batch.inputs), reference.exact(batch.inputs)
        for device, run in runs.items():
            found = run(batch.inputs)
            for tensor in model.outputs:
                name = tensor.name
                mask = mask_before_lengths(tensor, eager[name].shape, batch.inputs, lengths)
                row = distances[device].row(batch.kind, name, batch.length)
                row.add(found=found[name], eager=eager[name], exact=exact[name], mask=mask)
                if batch.kind in ("step", "sample"):
                    pair = [array if mask is None else np.where(mask, array, 0) for array in (found[name], eager[name])]
                    unit = scale(exact[name]) * coarseness(eager[name].dtype)
                    _raise(needed[device], batch.kind, largest_difference(pair[0], pair[1]).distance / unit)
    for device, table in distances.items():
        for (kind, _, _), row in table.rows.items():
            if kind != "step":
                _raise_rms(needed[device], row, limits_for(device).sequence_rms_factor)
    return needed


def needed_by_cases(cases: Sequence[Case], run: Inference, factor: float) -> Needed:
    """Run golden cases.

    Args:
        cases: Cases of one model.
        run: The model.
        factor: `sequence_rms_factor` of the limits.

    Returns:
        `step`, `sequence_largest`, `sequence_rms_factor` and `sequence_rms_floor`, as far as there are such cases.
    """
    needed: Needed = {}
    distances = Distances()
    for case in cases:
        found = run(case.inputs)
        for name, eager in case.eager.items():
            exact = case.float64[name]
            if case.kind == "step":
                _raise(needed, "step", largest_difference(found[name], eager).distance / scale(eager))
            else:
                _raise(needed, "sequence_largest", largest_difference(found[name], exact).distance / scale(exact))
                distances.row(case.kind, name, 0).add(found=found[name], eager=eager, exact=exact)
    for row in distances.rows.values():
        _raise_rms(needed, row, factor)
    return needed


def _raise_rms(needed: Needed, row: DistanceRow, factor: float) -> None:
    """Take a row in: by how much eager's distance from float64 is exceeded, and by how much `factor` times it is."""
    found, eager = row.found_exact.rms, row.eager_exact.rms
    _raise(needed, "sequence_rms_factor", found / eager if eager else math.inf if found else 0.0)
    _raise(needed, "sequence_rms_floor", (found - factor * eager) / row.scale)


def _raise(needed: Needed, name: str, value: float) -> None:
    needed[name] = max(needed.get(name, 0.0), math.inf if math.isnan(value) else value)
