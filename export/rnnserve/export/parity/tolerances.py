"""The table of limits: how far values of float32 may lie apart, by device; and the tolerances of other comparisons.

A trained recurrence amplifies rounding, so no single tolerance is right for whole sequences (docs/lab/findings.md,
"Comparing recurrent models"). Single steps amplify nothing and have tight limits; whole sequences are judged by their
distance from float64, as a multiple of eager's own.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from rnnserve.protos import manifest_pb2

ULP = 2.0**-23
"""float32's step from 1 to 2."""

OTHER_RUNTIME = 4.0
"""How many times further than the samples of rounding another runtime's may move a value."""

CALM = 0.25
"""The part of a limit that rounding may use in the rows that golden results have: another runtime may use more."""

ADOPTED_RMS = 2.5
"""How much tighter the limit of a root mean square is than that of the largest distance, for files that are adopted."""

AMPLIFIED = 100.0
"""How many times the change by inputs moved by an ulp is no rounding any more: the order of a sum changes less."""

LARGE_SUMS: Mapping[str, float] = MappingProxyType({"long and loud": 16.0})
"""Kinds of which the limits of whole sequences grow with the largest value, and not with a sixteenth of it: the order
in which a runtime adds a thousand large values moves their sum by ulps of that. Eager's own may be exact to less."""

UNDECIDED = 1e-2
"""Distance of a value of 1 from float64 from which on users are told that the module itself amplifies rounding."""

EAGER_ROUNDING = 1e-4
"""Rounding of a value of 1 over short sequences, where there is no float64; a dependence moves results by more."""

OTHER_FORMULA = 2e-5
"""Distance of values of 1 from which on a file computes another formula: rounding moves short sequences by less."""


@dataclasses.dataclass(frozen=True)
class ParityLimits:
    """How far values may lie apart, in the unit of the tensors.

    Every limit but the factor grows with large values, by `rnnserve.protos.differences.scale` of the tensor.

    Attributes:
        step: Largest difference from eager after one step, beside a multiple of eager's own distance from float64.
        sample: The same for given samples.
        sequence_rms_factor: Whole sequences: root mean square distance from float64, as a multiple of eager's own, over
            all rows of a length and, where eager is close to float64 by luck, over several runs of eager.
        sequence_rms_floor: Added to that multiple, since eager may be exact by luck.
        sequence_largest: Whole sequences that are known to amplify nothing (golden results): largest distance of any
            one value from float64.
        double: Largest difference between two computations of the same result in float64.
    """

    step: float
    sample: float
    sequence_rms_factor: float
    sequence_rms_floor: float
    sequence_largest: float
    double: float


LIMITS: Mapping[str, ParityLimits] = MappingProxyType(
    {
        "cpu": ParityLimits(
            step=32 * ULP,
            sample=4e-6,
            sequence_rms_factor=4.0,
            sequence_rms_floor=4 * ULP,
            sequence_largest=4e-6,
            double=1e-9,
        ),
        # Not measured: twice the CPU's, since the golden results come from the CPU and cuDNN adds in another order.
        # `make gpu` measures what they have to be. They are not for TF32, which keeps 10 bits of a product's factors.
        "cuda": ParityLimits(
            step=64 * ULP,
            sample=8e-6,
            sequence_rms_factor=8.0,
            sequence_rms_floor=8 * ULP,
            sequence_largest=8e-6,
            double=1e-9,
        ),
    }
)


def limits_for(device: str) -> ParityLimits:
    """Look up a row of the table."""
    return LIMITS[device]


def replay_limits(*, step: float = 0.0, sequence: float = 0.0) -> list[manifest_pb2.ReplayLimits]:
    """Give the limits for replaying golden results as the manifest has them, a message for each device.

    They grow with how far rounding was found to move a value in one step and in whole sequences, in the unit of the
    limit; wide layers need more than the table has.
    """
    cpu = LIMITS["cpu"]
    wider_step = max(1.0, OTHER_RUNTIME * step / cpu.step)
    wider_sequence = max(1.0, OTHER_RUNTIME * sequence / cpu.sequence_largest)
    return [
        manifest_pb2.ReplayLimits(
            device=device,
            step_state=limits.step * wider_step,
            step_logits=limits.step * wider_step,
            walk_logits=limits.sample,
            sequence_rms_factor=limits.sequence_rms_factor,
            sequence_rms_floor=limits.sequence_rms_floor * wider_sequence,
            sequence_largest=limits.sequence_largest * wider_sequence,
        )
        for device, limits in LIMITS.items()
    ]
