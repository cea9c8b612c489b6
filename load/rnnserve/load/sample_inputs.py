"""Inputs from a `.npz` file, with the answers that are expected for them, if the file has them."""

from dataclasses import dataclass, field

from rnnserve.client import ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.casting import check_numbers
from rnnserve.client.reading import read_arrays
from rnnserve.client.tensors import Array

__all__ = ["SampleCase", "read_samples"]

_GOLDEN_PARTS = ("inputs", "eager", "float64")
"""The parts of a case in a version's golden.npz: NUMBER/KIND/PART/NAME."""

_OUTPUT = "output:"
"""Precedes the names of outputs in the files of samples that `rnnserve import` reads."""


@dataclass(frozen=True)
class SampleCase:
    """Rows of one call.

    Attributes:
        inputs: By name, each with all axes of the input.
        answers: By name, each with all axes of the output; empty if the file has no answers.
    """

    inputs: dict[str, Array] = field(default_factory=dict)
    answers: dict[str, Array] = field(default_factory=dict)


def read_samples(data: bytes, source: str, metadata: ModelMetadata) -> tuple[SampleCase, ...]:
    """Return the cases of a file.

    Args:
        data: The file's content: arrays called NAME, or CASE/NAME for several cases, where NAME is an input of the
            model, or an output, also as output:NAME; or a version's golden.npz.
        source: The file's name, for errors.
        metadata: The model's metadata.

    Raises:
        UnreadableInput: The content is no such file, or an array does not fit the model.
    """
    cases: dict[str, SampleCase] = {}
    for key, array in read_arrays(data, source).items():
        *case, name = key.split("/")
        part = case.pop() if len(case) == 3 and case[2] in _GOLDEN_PARTS else ""
        if part == "float64":  # more exact than the model's answers
            continue
        found = cases.setdefault("/".join(case), SampleCase())
        is_output, name = name.startswith(_OUTPUT), name.removeprefix(_OUTPUT)
        if name in metadata.inputs and not is_output:
            _check(array, metadata.inputs[name], f"{source}, {key}")
            found.inputs[name] = array
        elif name in metadata.outputs:
            _check(array, metadata.outputs[name], f"{source}, {key}")
            found.answers[name] = array
        else:
            known = ", ".join([*metadata.inputs, *metadata.outputs])
            raise UnreadableInput(
                f"{source}: holds {key!r}, but the tensors of model {metadata.name} are {known}. Expected arrays "
                "called NAME, or CASE/NAME for several cases"
            )
    for label, found in cases.items():
        if not found.inputs:
            raise UnreadableInput(f"{source}: has answers but no inputs{f' in case {label}' if label else ''}")
    if not cases:
        raise UnreadableInput(f"{source}: holds no arrays")
    return tuple(cases.values())


def _check(array: Array, tensor: TensorMetadata, place: str) -> None:
    check_numbers(array, place)
    if array.ndim != len(tensor.shape) or 0 in array.shape:
        raise UnreadableInput(
            f"{place}: has shape {array.shape}. Expected ({', '.join(tensor.axis_names)}), with no axis of size 0"
        )
