"""Golden results: eager PyTorch's results for some inputs, and the tolerances for another runtime.

A trained recurrence amplifies rounding, so no single tolerance is right for whole sequences. Each kind of case has its
own rule:

- `step`: one step from an arbitrary state. Nothing is amplified, so every value lies within a few ulps of eager's.
- `sample` and `random`: given and drawn sequences. Over all cases of a kind the root mean square distance from the same
  module in float64 is at most a small multiple of eager's own. Export picks cases in which rounding is not amplified,
  so that each single value has a limit as well.
- `walk`, in artifacts of format 1: inputs like those of training. Every value lies close to eager's.

Integers and booleans equal eager's. If eager returns NaN or infinity, the other runtime returns the same.
"""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.protos import manifest_pb2
from rnnserve.protos.array_archives import read_arrays
from rnnserve.protos.artifact import GOLDEN, ArtifactError
from rnnserve.protos.differences import coarseness, equally_non_finite, largest_difference, scale

__all__ = ["KINDS", "Case", "Inference", "dump_cases", "load_cases", "replay"]

Array = npt.NDArray[Any]
Inference = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Computes a model's outputs by name from all its inputs by name."""

KINDS = ("step", "walk", "sample", "random")
_BY_FLOAT64 = ("sample", "random")  # judged by their distance from float64
_PARTS = ("inputs", "eager", "float64")


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs of a model, and eager's results.

    Attributes:
        kind: One of `KINDS`.
        inputs: By name, every input of the model: `input` (batch, sequence, features) float32, `lengths` (batch,)
            int64, `h_0` (layers * directions, batch, hidden) float32, …
        eager: By name, every output as eager PyTorch computed it: `logits` (batch, classes) float32, `output` (batch,
            sequence, directions * hidden) float32, `h_n` like `h_0`, …
        float64: The same outputs in float64: exact, as far as float32 can tell. Integers and booleans as in `eager`.
    """

    kind: str
    inputs: dict[str, Array]
    eager: dict[str, Array]
    float64: dict[str, Array]

    def __str__(self) -> str:
        name, first = next(iter(self.inputs.items()))
        return f'{self.kind} of "{name}" {list(first.shape)}'


def dump_cases(cases: Iterable[Case]) -> bytes:
    """Write cases as an .npz file: the same cases give the same bytes, at any time and with any zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, case in enumerate(cases):
            for part in _PARTS:
                for name, array in getattr(case, part).items():
                    entry = io.BytesIO()
                    np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
                    info = zipfile.ZipInfo(f"{number:03}/{case.kind}/{part}/{name}.npy")  # its date is 1980, always
                    info.create_system = 3  # on every system
                    archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def load_cases(data: bytes) -> list[Case]:
    """Read a file of `dump_cases`, or of numpy's `savez` or `savez_compressed` with the same names.

    Raises:
        ArtifactError: If it is another file, a case is incomplete, or the file holds much more than it has bytes.
    """
    cases: dict[str, Case] = {}
    try:
        for key, array in read_arrays(data):
            number, kind, part, name = key.split("/", 3)
            case = cases.setdefault(number, Case(kind, {}, {}, {}))
            {"inputs": case.inputs, "eager": case.eager, "float64": case.float64}[part][name] = array
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{GOLDEN}: does not contain golden results: {error}") from error
    if not cases:
        raise ArtifactError(f"{GOLDEN}: does not contain golden results")
    for number, case in cases.items():
        _check(number, case)
    return list(cases.values())


def _check(number: str, case: Case) -> None:
    """Refuse a case that would prove less than it seems to.

    Raises:
        ArtifactError: If its kind, its input or its results are not as in `Case`.
    """
    if case.kind not in KINDS:
        raise ArtifactError(f'{GOLDEN}: case {number} has the kind "{case.kind}"; expected one of {", ".join(KINDS)}')
    if not case.inputs:
        raise ArtifactError(f"{GOLDEN}: case {number} has no inputs")
    shapes = [{name: array.shape for name, array in part.items()} for part in (case.eager, case.float64)]
    if not case.eager or shapes[0] != shapes[1]:
        raise ArtifactError(f"{GOLDEN}: case {number} has different tensors in eager, {shapes[0]}, and in float64")


def replay(cases: Sequence[Case], compute: Inference, limits: manifest_pb2.ReplayLimits) -> list[str]:
    """Compute every case, and compare the results with the case's results.

    Args:
        cases: Inputs, with eager's results.
        compute: The model on the tested runtime.
        limits: Limits for that runtime's device.

    Returns:
        The mistakes, a sentence each. Empty if there are none.
    """
    failures: list[str] = []
    errors: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
    for number, case in enumerate(cases):
        where = f"case {number}, {case}"
        found = compute(case.inputs)
        wrong = list(_form(where, case, found))
        failures += wrong
        if wrong:
            continue
        for name, eager in case.eager.items():
            exact, is_float, computed = case.float64[name], eager.dtype.kind == "f", found[name]
            if is_float and not np.isfinite(eager).all():
                same = equally_non_finite(computed, eager)
                computed, eager, exact = (np.where(same, 0, array) for array in (computed, eager, exact))
            truth, expected = ("float64", exact) if case.kind in _BY_FLOAT64 and is_float else ("eager", eager)
            if truth == "float64":
                errors.setdefault((case.kind, name), []).append((computed - exact, eager - exact))
            limit = _limit(case.kind, name, limits) * scale(expected) * coarseness(eager.dtype) if is_float else 0.0
            failures += _near(f'{where}: "{name}"', computed, truth, expected, limit)
    for (kind, name), pairs in errors.items():
        largest = max(scale(case.float64[name]) for case in cases if case.kind == kind)
        coarse = max(coarseness(case.eager[name].dtype) for case in cases if case.kind == kind)
        failures += _as_exact(kind, name, pairs, largest * coarse, limits)
    return failures


def _form(where: str, case: Case, found: Mapping[str, Array]) -> Iterator[str]:
    """Compare names, shapes and dtypes, which must be right before values are compared."""
    for name, eager in case.eager.items():
        if name not in found:
            yield f'{where}: no output "{name}"; the outputs are {", ".join(found) or "none"}'
        elif found[name].shape != eager.shape:
            yield f'{where}: "{name}" has shape {list(found[name].shape)}; eager returned {list(eager.shape)}'
        elif found[name].dtype != eager.dtype:
            yield f'{where}: "{name}" is {found[name].dtype}; eager returned {eager.dtype}'
    for name in found:
        if name not in case.eager:
            yield f'{where}: the output "{name}" does not exist in eager'


def _limit(kind: str, name: str, limits: manifest_pb2.ReplayLimits) -> float:
    if kind in _BY_FLOAT64:
        return limits.sequence_largest
    if kind == "walk":
        return limits.walk_logits
    return limits.step_logits if name == "logits" else limits.step_state


def _near(what: str, found: Array, truth: str, expected: Array, limit: float) -> Iterator[str]:
    worst = largest_difference(found, expected)
    if not worst.distance <= limit:
        yield (
            f"{what} at {list(worst.index)} is {worst.found:.9g}, {truth} returned {worst.expected:.9g}: "
            f"{worst.distance:.3g} apart, {limit:.3g} allowed"
        )


def _as_exact(
    kind: str, name: str, pairs: list[tuple[Array, Array]], largest: float, limits: manifest_pb2.ReplayLimits
) -> Iterator[str]:
    found, eager = (_rms([pair[side] for pair in pairs]) for side in (0, 1))
    allowed = limits.sequence_rms_factor * eager + limits.sequence_rms_floor * largest
    if not found <= allowed:
        yield (
            f'{kind} sequences: "{name}" is {found:.3g} from float64 (root mean square), eager {eager:.3g}: '
            f"{allowed:.3g} allowed"
        )


def _rms(errors: list[Array]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([error.ravel() for error in errors])))))
