"""Read samples from an .npz file, and make golden cases from them.

A sample holds real inputs, and the outputs that the file's original framework computed for them. Inputs are stored
under their names, and expected outputs under `output:NAME`. If the file has several samples, each name starts with the
sample's number and a slash: `0/input`, `0/output:logits`, `1/input`, …
"""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.golden_cases import GoldenCases
from rnnserve.export.parity import OnnxTruth
from rnnserve.export.parity.reference import as_float64
from rnnserve.export.parity.tolerances import IMPORTED_RMS, OTHER_RUNTIME, limits_for
from rnnserve.export.tensors import Arrays, axis_of, mask_before_lengths
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import coarseness, largest_difference, scale
from rnnserve.protos.golden import Case
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Sample", "expected_cases", "read_samples"]

_MOST_ROWS = 64  # rows of a sample that servers check at load
_UNREADABLE = (
    *(ValueError, EOFError, AttributeError, KeyError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
_KEY = re.compile(r"(?:(\d+)/)?(output:)?(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Inputs of a model, and the outputs expected for them."""

    inputs: Arrays  # lengths and states are optional
    outputs: Arrays  # expected outputs of some or all names


def read_samples(path: Path) -> Sequence[Sample]:
    """Read samples, in the order of their numbers."""
    samples: dict[int, Sample] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                found = _KEY.fullmatch(key)
                assert found is not None  # noqa: S101 - a zip archive has no empty names
                number, is_output, name = found.groups()
                sample = samples.setdefault(int(number or 0), Sample({}, {}))
                (sample.outputs if is_output else sample.inputs)[name] = arrays[key]
    except _UNREADABLE as error:
        # For a file it can't read, numpy's message suggests loading it as a pickle. Loading a pickle can run its code.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise WrongArguments(
            f"{path} is not an .npz file of arrays{reason}; expected a file from numpy.savez without Python objects"
        ) from error
    if not samples:
        raise WrongArguments(f"{path} holds no arrays")
    return [samples[number] for number in sorted(samples)]


def expected_cases(model: ModelDescription, truth: OnnxTruth, known: Sequence[tuple[Arrays, Arrays]]) -> GoldenCases:
    """Compare a file's results with the expected outputs, and make golden cases from these outputs.

    Raises ExportError if the file computes other values, and WrongArguments if an expected output doesn't fit the
    model's outputs.
    """
    cases, furthest = [], 0.0
    for number, (inputs, given) in enumerate(known):
        inputs = _first_rows(model.inputs, inputs)
        outputs = truth.eager(inputs)
        rounding = list(truth.moved(inputs))
        for name, array in _checked(number, model, given, outputs):
            tensor = next(tensor for tensor in model.outputs if tensor.name == name)
            mask = mask_before_lengths(tensor, array.shape, inputs, model.lengths)
            found, expected = (_masked(side, mask) for side in (outputs[name], array))
            unit = scale(expected) * coarseness(array.dtype) if array.dtype.kind == "f" else 1.0
            moved = max(
                (largest_difference(_masked(each[name], mask), found).distance for each in rounding), default=0.0
            )
            limit = limits_for("cpu").sample * unit + OTHER_RUNTIME * moved if array.dtype.kind == "f" else 0.0
            worst = largest_difference(found, expected)
            if not worst.distance <= limit:
                raise ExportError(
                    f'sample {number}: "{name}" at {list(worst.index)} is {worst.found:.9g}, but the sample has '
                    f"{worst.expected:.9g}: {worst.distance:.3g} apart, {limit:.3g} allowed. The file computes other "
                    "results than its framework, or the sample belongs to another model"
                )
            furthest = max(furthest, worst.distance / unit)
            # A framework may leave arbitrary values after a row's length, so use the file's own values there.
            outputs[name] = array if mask is None else np.where(mask, array, outputs[name])
        cases.append(Case("sample", inputs, eager=outputs, float64=as_float64(outputs)))
    return GoldenCases(cases, step=0.0, sequence=IMPORTED_RMS * furthest)


def _checked(
    number: int, model: ModelDescription, given: Arrays, outputs: Arrays
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Return the first rows of the expected outputs, in the model's dtypes."""
    tensors = {tensor.name: tensor for tensor in model.outputs}
    for name, array in given.items():
        if name not in tensors:
            raise WrongArguments(f'sample {number} has "output:{name}"; the outputs are {", ".join(tensors)}')
        tensor = tensors[name]
        rows = outputs[name].shape[axis_of(tensor, BATCH) or 0]
        cut = np.take(array, range(rows), axis_of(tensor, BATCH) or 0) if array.ndim == len(tensor.axes) else array
        if cut.shape != outputs[name].shape:
            raise WrongArguments(
                f'sample {number}: "output:{name}" has shape {list(array.shape)}; the file returns '
                f"{list(outputs[name].shape)}"
            )
        yield name, cut.astype(DTYPES[tensor.datatype])


def _first_rows(tensors: Sequence[manifest_pb2.Tensor], arrays: Arrays) -> Arrays:
    return {
        tensor.name: np.ascontiguousarray(np.moveaxis(np.moveaxis(arrays[tensor.name], at, 0)[:_MOST_ROWS], 0, at))
        for tensor in tensors
        for at in [axis_of(tensor, BATCH) or 0]
    }


def _masked(array: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[Any]:
    return array if mask is None else np.where(mask, array, 0)
