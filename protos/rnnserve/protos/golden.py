"""Golden results: what eager PyTorch gave for some inputs, and how near another runtime must come to it.

A trained recurrence amplifies rounding, so no one tolerance is honest for whole sequences (FINDINGS, "Comparing
recurrent models"). Three kinds of case are judged by three rules:

- `step`: one step from an arbitrary state. Nothing is amplified, so every value lies within a few ulps of eager's.
- `walk`: what the model was trained on, up to 64 points. Every value lies close to eager's.
- `random`: random points and states. Over all such cases the root mean square distance from the same module in float64
  is no more than a small multiple of eager's own. Export picks cases in which rounding is not amplified, so that each
  single value has a limit as well.
"""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, ArtifactError
from rnnserve.protos.differences import largest_difference, scale

__all__ = ["KINDS", "Case", "Run", "dump_cases", "load_cases", "replay"]

Array = npt.NDArray[Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

KINDS = ("step", "walk", "random")
_PARTS = ("inputs", "eager", "float64")


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs and what came out.

    Attributes:
        kind: One of `KINDS`.
        inputs: By name, every input of the model: `input` (batch, sequence, features) float32, `lengths` (batch) int64,
            `h_0` (layers * directions, batch, hidden) float32, …
        eager: By name, every output as eager PyTorch computed it, float32.
        float64: The same in double precision: exact, as far as float32 can tell.
    """

    kind: str
    inputs: dict[str, Array]
    eager: dict[str, Array]
    float64: dict[str, Array]

    def __str__(self) -> str:
        batch, sequence = self.inputs["input"].shape[:2]
        return f"{self.kind} of batch {batch}, sequence {sequence}"


def dump_cases(cases: Iterable[Case]) -> bytes:
    """Write cases as an .npz file: the same cases give the same bytes, whatever the clock and the zlib at hand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, case in enumerate(cases):
            for part in _PARTS:
                for name, array in getattr(case, part).items():
                    entry = io.BytesIO()
                    np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
                    info = zipfile.ZipInfo(f"{number:03}/{case.kind}/{part}/{name}.npy")  # dated 1980, as all of them
                    info.create_system = 3  # wherever it is written
                    archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def load_cases(data: bytes) -> list[Case]:
    """Read what `dump_cases` wrote.

    Raises:
        ArtifactError: If it is no such file.
    """
    cases: dict[str, Case] = {}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for key in arrays.files:
                number, kind, part, name = key.split("/")
                case = cases.setdefault(number, Case(kind, {}, {}, {}))
                {"inputs": case.inputs, "eager": case.eager, "float64": case.float64}[part][name] = arrays[key]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{GOLDEN}: holds no golden results: {error}") from error
    if not cases:
        raise ArtifactError(f"{GOLDEN}: holds no golden results")
    for number, case in cases.items():
        _check(number, case)
    return list(cases.values())


def _check(number: str, case: Case) -> None:
    """A case that proves less than it seems to is no case."""
    if case.kind not in KINDS:
        raise ArtifactError(f'{GOLDEN}: case {number} is a "{case.kind}"; expected one of {", ".join(KINDS)}')
    if "input" not in case.inputs or case.inputs["input"].ndim != 3:
        raise ArtifactError(f'{GOLDEN}: case {number} has no "input" of axes (batch, sequence, features)')
    shapes = [{name: array.shape for name, array in part.items()} for part in (case.eager, case.float64)]
    if not case.eager or shapes[0] != shapes[1]:
        raise ArtifactError(f"{GOLDEN}: case {number} has not the same tensors from eager, {shapes[0]}, and in float64")


def replay(cases: Sequence[Case], run: Run, limits: manifest_pb2.ReplayLimits) -> list[str]:
    """Run every case and judge what comes out.

    Args:
        cases: What eager gave.
        run: Takes a case's inputs by name, and gives the outputs by name.
        limits: How near they must be.

    Returns:
        What is wrong, a sentence each; empty where all is as it should be.
    """
    failures: list[str] = []
    errors: dict[str, list[tuple[Array, Array]]] = {}
    for number, case in enumerate(cases):
        where = f"case {number}, {case}"
        found = run(case.inputs)
        wrong = list(_form(where, case, found))
        failures += wrong
        if wrong:
            continue
        for name, eager in case.eager.items():
            if case.kind == "random":
                exact = case.float64[name]
                errors.setdefault(name, []).append((found[name] - exact, eager - exact))
                truth, expected = "float64", exact
            else:
                truth, expected = "eager", eager
            limit = _limit(case.kind, name, limits) * scale(expected)
            failures += _near(f'{where}: "{name}"', found[name], truth, expected, limit)
    for name, pairs in errors.items():
        largest = max(scale(case.float64[name]) for case in cases if case.kind == "random")
        failures += _as_exact(name, pairs, largest, limits)
    return failures


def _form(where: str, case: Case, found: Mapping[str, Array]) -> Iterator[str]:
    """Names, shapes and datatypes come before values."""
    for name, eager in case.eager.items():
        if name not in found:
            yield f'{where}: no output "{name}"; there are {", ".join(found) or "none"}'
        elif found[name].shape != eager.shape:
            yield f'{where}: "{name}" has shape {list(found[name].shape)}, eager gave {list(eager.shape)}'
        elif found[name].dtype != eager.dtype:
            yield f'{where}: "{name}" is {found[name].dtype}, eager gave {eager.dtype}'
    for name in found:
        if name not in case.eager:
            yield f'{where}: an output "{name}" that eager has not'


def _limit(kind: str, name: str, limits: manifest_pb2.ReplayLimits) -> float:
    if kind == "random":
        return limits.sequence_largest
    if kind == "walk":
        return limits.walk_logits
    return limits.step_logits if name == "logits" else limits.step_state


def _near(what: str, found: Array, truth: str, expected: Array, limit: float) -> Iterator[str]:
    worst = largest_difference(found, expected)
    if not worst.distance <= limit:
        yield (
            f"{what} at {list(worst.index)} is {worst.found:.9g}, {truth} gave {worst.expected:.9g}: "
            f"{worst.distance:.3g} apart, {limit:.3g} allowed"
        )


def _as_exact(
    name: str, pairs: list[tuple[Array, Array]], largest: float, limits: manifest_pb2.ReplayLimits
) -> Iterator[str]:
    found, eager = (_rms([pair[side] for pair in pairs]) for side in (0, 1))
    allowed = limits.sequence_rms_factor * eager + limits.sequence_rms_floor * largest
    if not found <= allowed:
        yield (
            f'random sequences: "{name}" is {found:.3g} from float64 (root mean square), eager {eager:.3g}: '
            f"{allowed:.3g} allowed"
        )


def _rms(errors: list[Array]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([error.ravel() for error in errors])))))
