"""What requests cost a server, as measured, and the file that holds it.

    seconds of a run = run + longest * step + points * point + padding points * padding

These are the terms of the server's own `Cost`, fitted to runs of many sizes. Beside its run each request takes
`request` seconds of the server's core, and `copy` for each row and step of its tensor, to be received, checked and
answered; `away` is what it spends elsewhere: in the client and in the kernel.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from rnnserve.server.batching.planning import Cost

__all__ = ["CostModel", "MeasuredRun", "fit_costs", "read_cost_model", "write_cost_model"]

_FORMAT = "rnnserve simulation cost 1"


@dataclass(frozen=True)
class MeasuredRun:
    """The mean run of requests of one kind.

    Attributes:
        rows: Rows of a run.
        shortest: Least steps of a row.
        longest: Most steps of a row; between the two, all lengths are equally frequent.
        seconds: Mean seconds of a run, as the server counts them.
        beside: Mean seconds of the server's core beside it, of requests that each had a run.
    """

    rows: int
    shortest: int
    longest: int
    seconds: float
    beside: float

    @property
    def expected_longest(self) -> float:
        """Mean of the longest row's steps."""
        lengths = np.arange(self.shortest, self.longest + 1)
        below = (lengths - self.shortest) / len(lengths)  # the probability that a row is shorter
        return float(self.shortest + (1 - below[1:] ** self.rows).sum())

    @property
    def expected_points(self) -> float:
        """Mean of the rows' steps together."""
        return self.rows * (self.shortest + self.longest) / 2


@dataclass(frozen=True)
class CostModel:
    """What requests cost.

    Attributes:
        run: Seconds of a run, whatever its size.
        step: Seconds of a step, whatever its rows.
        point: Seconds of one row at one step.
        padding: Seconds of one row at one step after its end.
        request: Seconds of the server's core for each request beside its run.
        copy: Seconds of the server's core for each row and step of a request's tensor, padding included.
        away: Seconds that a request spends elsewhere, at equally spaced quantiles, ascending.
        rows: Rows of a typical request, one that takes some milliseconds.
        slice: Seconds that a server runs before another one on the same core has its turn.
        shared: How many times the core's time a request takes where servers share the core: they push each other's data
            out of its caches, and each wakes and sleeps more often.
        measured: What it was fitted to.
        facts: Where and with what it was measured, as text by name.
    """

    run: float
    step: float
    point: float
    padding: float
    request: float
    copy: float = 0.0
    away: Sequence[float] = (0.0,)
    rows: int = 1
    slice: float = 3e-3
    shared: float = 1.0
    measured: Sequence[MeasuredRun] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """The terms that the server itself plans runs by."""
        return Cost(run=self.run, step=self.step, point=self.point, padding=self.padding)

    def run_seconds(self, rows: float, longest: float, points: float) -> float:
        """Seconds of a run.

        Args:
            rows: Number of its rows.
            longest: Number of steps of the longest row.
            points: Number of steps of all rows.
        """
        return self.run + longest * self.step + points * self.point + (rows * longest - points) * self.padding

    def beside_seconds(self, rows: float, longest: float) -> float:
        """Seconds that a request takes beside its run."""
        return self.request + rows * longest * self.copy

    def mean_seconds(self, rows: int, shortest: int, longest: int) -> float:
        """Mean seconds of the core that a request of a size takes that has a run of its own."""
        one = MeasuredRun(rows, shortest, longest, 0.0, 0.0)
        most = one.expected_longest
        return self.run_seconds(rows, most, one.expected_points) + self.beside_seconds(rows, most)

    def at_pace(self, pace: float) -> "CostModel":
        """Costs of a core on which everything takes `pace` times as long."""
        run, step, point, padding = (pace * term for term in (self.run, self.step, self.point, self.padding))
        beside = pace * self.request, pace * self.copy
        return replace(self, run=run, step=step, point=point, padding=padding, request=beside[0], copy=beside[1])

    @property
    def worst_error(self) -> float:
        """The largest error of the fit, as a part of what was measured; 0 without measurements."""
        return max(
            (abs(self.mean_seconds(*_size(one)) / (one.seconds + one.beside) - 1) for one in self.measured), default=0.0
        )


def fit_costs(measured: Sequence[MeasuredRun], rows: int, facts: Mapping[str, str]) -> CostModel:
    """Fit the costs by least squares of the relative errors; none of them is negative.

    Args:
        measured: Runs of several sizes.
        rows: Number of rows of a typical request.
        facts: Machine and model that were measured.

    Raises:
        BenchmarkError: If fewer runs were measured than there are terms.
    """
    if len(measured) < 4:
        raise BenchmarkError(f"{len(measured)} measured runs are too few for four costs")
    run, step, point, padding = _fit([_terms(one) for one in measured], [one.seconds for one in measured])
    tensors = [(1.0, one.rows * one.expected_longest) for one in measured]
    request, copy = _fit(tensors, [max(one.beside, 1e-6) for one in measured])
    return CostModel(run, step, point, padding, request, copy, rows=rows, measured=measured, facts=facts)


def write_cost_model(model: CostModel, path: Path) -> None:
    """Write a model as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": _FORMAT, **asdict(model)}, indent=1) + "\n")


def read_cost_model(path: Path) -> CostModel:
    """Read what `write_cost_model` has written.

    Raises:
        BenchmarkError: If there is no such file, or it is another one.
    """
    try:
        said = json.loads(path.read_bytes())
        if said.pop("format") != _FORMAT:
            raise BenchmarkError(f"{path}: is not a cost model of this version: measure again, with --calibrate")
        measured = [MeasuredRun(**one) for one in said.pop("measured")]
        away = tuple(said.pop("away"))
        return CostModel(**said, away=away, measured=measured)
    except OSError as error:
        raise BenchmarkError(
            f"{path}: cannot be read ({error.strerror}); `python -m benchmarks.simulation --calibrate REPOSITORY` "
            "measures what requests cost, and writes it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path}: is not a cost model ({error})") from error


def _size(one: MeasuredRun) -> tuple[int, int, int]:
    return one.rows, one.shortest, one.longest


def _terms(one: MeasuredRun) -> tuple[float, float, float, float]:
    longest, points = one.expected_longest, one.expected_points
    return 1.0, longest, points, one.rows * longest - points


def _fit(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Find factors of terms, none negative, with the least squares of the relative errors."""
    relative = np.array(terms) / np.array(seconds)[:, None]  # (measurements, terms)
    kept = list(range(relative.shape[1]))
    while True:
        found, *_ = np.linalg.lstsq(relative[:, kept], np.ones(len(seconds)), rcond=None)
        if found.min() >= 0:
            break
        kept.remove(kept[int(found.argmin())])
    factors = dict(zip(kept, found.tolist(), strict=True))
    return [factors.get(at, 0.0) for at in range(relative.shape[1])]
