"""The table of limits: how far values may lie apart, by device and dtype.

A trained recurrence amplifies rounding, so no single tolerance is right for whole sequences (docs/findings.md,
"Comparing recurrent models"). Single steps amplify nothing and have tight limits; whole sequences are judged by their
distance from float64, as a multiple of eager's own.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from rnnserve.protos import manifest_pb2

__all__ = ["LIMITS", "ParityLimits", "limits_for", "replay_limits"]

_ULP = 2.0**-23  # float32's step from 1 to 2


@dataclasses.dataclass(frozen=True)
class ParityLimits:
    """How far values may lie apart, in the unit of the tensors.

    Every limit but the factor grows with large values, by `rnnserve.protos.differences.scale` of the tensor.

    Attributes:
        step_state: Largest difference from eager after one step, in output, h_n and c_n.
        step_logits: The same in logits.
        walk: Largest difference from eager in logits, on walks of up to 64 points.
        sequence_rms_factor: Whole sequences: root mean square distance from float64, as a multiple of eager's own, over
            a few hundred rows and, where eager is close to float64 by luck, over several runs of eager.
        sequence_rms_floor: Added to that multiple, since eager may be exact by luck.
        sequence_largest: Whole sequences that are known to amplify nothing (golden results): largest distance of any
            one value from float64.
        double: Largest difference between two computations of the same result in float64.
    """

    step_state: float
    step_logits: float
    walk: float
    sequence_rms_factor: float
    sequence_rms_floor: float
    sequence_largest: float
    double: float


LIMITS: Mapping[tuple[str, str], ParityLimits] = MappingProxyType(
    {
        ("cpu", "float32"): ParityLimits(
            step_state=32 * _ULP,
            step_logits=32 * _ULP,
            walk=4e-6,
            sequence_rms_factor=4.0,
            sequence_rms_floor=4 * _ULP,
            sequence_largest=4e-6,
            double=1e-9,
        ),
        # Twice the CPU's, since the golden results come from the CPU and cuDNN adds in another order: reasoned, not
        # measured yet. They are for float32, not for TF32, which keeps 10 bits of a product's factors.
        ("cuda", "float32"): ParityLimits(
            step_state=64 * _ULP,
            step_logits=64 * _ULP,
            walk=8e-6,
            sequence_rms_factor=8.0,
            sequence_rms_floor=8 * _ULP,
            sequence_largest=8e-6,
            double=1e-9,
        ),
    }
)


def limits_for(device: str, dtype: str = "float32") -> ParityLimits:
    """Look up a row of the table.

    Raises:
        KeyError: If there are no limits for that device and dtype.
    """
    return LIMITS[device, dtype]


def replay_limits() -> list[manifest_pb2.ReplayLimits]:
    """Give the limits for replaying golden results as the manifest has them, a message for each device."""
    return [
        manifest_pb2.ReplayLimits(
            device=device,
            step_state=limits.step_state,
            step_logits=limits.step_logits,
            walk_logits=limits.walk,
            sequence_rms_factor=limits.sequence_rms_factor,
            sequence_rms_floor=limits.sequence_rms_floor,
            sequence_largest=limits.sequence_largest,
        )
        for (device, dtype), limits in LIMITS.items()
        if dtype == "float32"
    ]
