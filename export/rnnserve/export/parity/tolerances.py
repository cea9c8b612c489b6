"""Limits on the distance between float32 values, by device, and the tolerances of other comparisons.

A trained recurrence amplifies rounding, so no single tolerance is right for whole sequences. Single steps amplify
nothing and have tight limits. Whole sequences are judged by their distance from float64, as a multiple of eager's
distance.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from rnnserve.protos import manifest_pb2

ULP = 2.0**-23
"""float32's step from 1 to 2."""

OTHER_RUNTIME = 4.0
"""Another runtime's rounding may move a value this many times further than the samples of rounding do."""

CALM = 0.25
"""Fraction of a limit that rounding may use in the rows of golden tests. The rest is for other runtimes."""

IMPORTED_RMS = 2.5
"""Factor between the limits of the largest distance and of the root mean square, for imported files."""

AMPLIFIED = 100.0
"""A change isn't rounding if it is this many times the change by inputs moved by an ulp. Reordering sums does less."""

LARGE_SUMS: Mapping[str, float] = MappingProxyType({"long and loud": 16.0})
"""Kinds whose limits for whole sequences grow with the largest value instead of a sixteenth of it. The order in which a
runtime adds a thousand large values moves their sum by ulps of the largest value. Eager may be more exact than that."""

UNDECIDED = 1e-2
"""Relative distance from float64 above which users get a note that the module itself amplifies rounding."""

EAGER_ROUNDING = 1e-4
"""Relative rounding over short sequences, if there is no float64. A dependence changes results by more."""

OTHER_FORMULA = 2e-5
"""Relative distance above which a file computes another formula. Rounding moves short sequences by less."""


@dataclasses.dataclass(frozen=True)
class ParityLimits:
    """Limits on the distance between values, in the unit of the tensors.

    Every limit except the factor grows with large values, by `rnnserve.protos.differences.scale` of the tensor.

    Attributes:
        step: Largest difference from eager after one step, in addition to a multiple of eager's distance from float64.
        sample: The same for the user's samples.
        sequence_rms_factor: For whole sequences: root mean square distance from float64, as a multiple of eager's
            distance. Both are taken over all rows of a length. If eager is close to float64 by luck, several runs of
            eager are used.
        sequence_rms_floor: Added to that multiple, because eager may be exact by luck.
        sequence_largest: For whole sequences known to amplify nothing (golden tests): largest distance of any value
            from float64.
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
        # Not measured: twice the CPU's limits, because the golden tests come from the CPU and cuDNN adds in another
        # order. `make gpu` measures the necessary limits. They don't cover TF32, which keeps 10 bits of a product's
        # factors.
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
    """Return the limits for golden tests in the manifest's form, one message for each device.

    `step` and `sequence` are the measured effects of rounding on a value in one step and in whole sequences, in the
    unit of the limits. The limits grow with them, because wide layers need more than the table allows.
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
