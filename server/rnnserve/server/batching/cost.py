"""What a run costs, as measured when its model is loaded."""

import dataclasses
import math

__all__ = ["Cost"]

_ROWS_TO_FIXED = 6
"""How many times as long the rows of a run take as what comes with every run, where a run is worth making. With hidden
128 and lengths 1 to 64 that is some 17 requests: of batches of at most 8, 12, 16, 20 and any number, those of 16 gave
the most inferences a second, an eighth more than any number did, and p99 was lower by a fifth (32 in flight,
perf_analyzer, A B A B)."""

_MAX_POINTS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run costs, in seconds: `run + steps * step + points * point + padding points * padding`.

    Points are rows * steps. Steps follow one another, and each reads the recurrent weights once however few its rows:
    with a large hidden size a step of two rows costs nearly what one of eight does. And onnxruntime skips part of the
    work after a row's end. Without either term, batches would be split in vain.

    Attributes:
        run: Seconds of a run, whatever its size.
        step: Seconds of a step, whatever its rows.
        point: Seconds of one row at one step.
        padding: Seconds of one row at one step after its end.
        max_points: A run has no more points than this, which bounds its memory: larger requests are run in parts.
    """

    run: float
    step: float
    point: float
    padding: float
    max_points: int = _MAX_POINTS

    def of(self, rows: float, steps: int) -> float:
        """Seconds that a run of `rows` rows of `steps` steps takes, without padding."""
        return self.run + steps * (self.step + rows * self.point)

    def points_within(self, seconds: float) -> float:
        """Points that take no more than `seconds` in one run of any shape: the most expensive shape has one row."""
        each = self.step + self.point
        return max(seconds - self.run, 0.0) / each if each else math.inf

    def points_taking(self, seconds: float) -> float:
        """Points that take `seconds` in runs of many rows, without what a run and its steps cost whatever its rows."""
        return seconds / self.point if self.point else math.inf

    def seconds_of_queue(self, points: int) -> float:
        """Seconds that requests of so many points take that wait together, and are run in batches worth making."""
        return points * self.point * (1 + 1 / _ROWS_TO_FIXED)

    def enough(self, steps: int) -> float:
        """Points with which a run of `steps` steps is worth making: more in it would only wait for each other.

        Beyond that, what a run costs whatever its rows is a small part of it. Two runs then take hardly longer than one
        of both, and the first half is answered, and may ask again, while the second runs.
        """
        return _ROWS_TO_FIXED * (self.run + steps * self.step) / self.point if self.point else math.inf
