"""Samples in an .npz file: inputs, and what the model should give for them.

One sample has the inputs' arrays under their names, and expected outputs under `output:NAME`. Several samples have a
number and a slash before each name: `0/input`, `0/output:logits`, `1/input`, …
"""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import Arrays

__all__ = ["Sample", "read_samples"]

_KEY = re.compile(r"(?:(\d+)/)?(output:)?(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Inputs of a model, and the outputs that are expected for them.

    Attributes:
        inputs: Arrays by name; lengths and states may be left out.
        outputs: Arrays by name; those that are known.
    """

    inputs: Arrays
    outputs: Arrays


def read_samples(path: Path) -> Sequence[Sample]:
    """Read samples, in the order of their numbers.

    Raises:
        WrongArguments: If it is no such file.
        OSError: If it cannot be read.
    """
    samples: dict[int, Sample] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                found = _KEY.fullmatch(key)
                assert found is not None  # noqa: S101 - a zip archive has no empty names
                number, is_output, name = found.groups()
                sample = samples.setdefault(int(number or 0), Sample({}, {}))
                (sample.outputs if is_output else sample.inputs)[name] = arrays[key]
    except (
        ValueError,
        EOFError,
        AttributeError,
        KeyError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # What numpy says of any file that it does not read is an advice to load it as a pickle, which runs its code.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise WrongArguments(
            f"{path} is no .npz file of arrays{reason}; expected a file that numpy.savez wrote, without objects"
        ) from error
    if not samples:
        raise WrongArguments(f"{path} holds no arrays")
    return [samples[number] for number in sorted(samples)]
