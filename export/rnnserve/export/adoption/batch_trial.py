"""Which axis of each input is the batch, found by trial: rows that are run together, and each of them alone."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnserve.export.adoption.file_inputs import FROZEN, ONE_ROW, FileInput, Question, Roles, ask, describe_inputs
from rnnserve.export.errors import WrongArguments
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.tolerances import EAGER_ROUNDING
from rnnserve.export.tensors import Arrays, draw_inputs, sequence_axes, take_row
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import distances, scale
from rnnserve.protos.protocol_words import BATCH

_ROWS = (3, 1, 5)
_MOST = 48  # choices of batches that are tried
_SIZES = (8, 16, 32, 64, 128, 160, 320, 512, 576, 4, 2, 1, 3, 5, 6, 12, 48, 80, 100, 240, 256, 400, 640)
_LONG = (1024, 1280, 1600, 4000, 16000)
"""Sizes of the other axes that are tried, all of them the same; the long ones if there is one axis: samples."""
_LARGEST = 16384
_REFUSED = 200  # characters of onnxruntime's reason


class Found(NamedTuple):
    """A choice of batches with which a file runs."""

    batches: Mapping[str, int]  # position of the batch, by input
    inputs: Sequence[manifest_pb2.Tensor]  # with these batches, described
    sizes: Mapping[str, int]  # of the other dynamic axes


class BatchTrial:
    """Runs a file as it is (`alone`), and with each axis dynamic that may be the batch (`together`).

    Rows that are run together must have the results that each has alone.
    """

    def __init__(self, inputs: Sequence[FileInput], alone: OnnxRunner, together: OnnxRunner, roles: Roles) -> None:
        self._inputs, self._alone, self._together, self._roles = inputs, alone, together, roles
        self._refused = ""  # what onnxruntime raised for the first sizes with which the file doesn't run

    def find(self, questions: Sequence[Question]) -> Found:
        """Find the batch. Otherwise ask the questions about the file, and refuse it."""
        one_row = ""  # why rows can't be run together, though the file runs with one
        for batches in itertools.islice(self._choices(), _MOST):
            described = describe_inputs(self._inputs, batches, self._roles.fixed)
            sizes = self._running_sizes(described)
            if sizes is None:
                continue
            found = Found(batches, described, sizes)
            runs, change = self._run_together(found)
            # Rows of an axis that is called the batch may depend on each other: the version is served so, then.
            if runs and (not change or all(each.is_called_batch for each in self._inputs)):
                return found
            one_row = one_row or change
        if one_row:
            ask(questions)
            raise WrongArguments(f"the file computes one row at a time; {ONE_ROW} ({one_row})")
        refused = self._refused[:_REFUSED]
        first = {each.tensor.name: each.candidates[0] for each in self._inputs}
        why = 'onnxruntime runs it with none of the sizes of "{}" that were tried; say which it takes'
        unknown = [
            Question(why.format(name), f"--size {name}=SIZE", f" ({refused})")
            for name in sequence_axes(describe_inputs(self._inputs, first, self._roles.fixed))
            if name not in self._roles.sizes
        ]
        ask([*questions, *unknown])
        raise WrongArguments(f"onnxruntime does not run it with one row of these sizes; {FROZEN} {refused}")

    def _run_together(self, found: Found) -> tuple[bool, str]:
        """Whether rows run together, with a result of a row for each; and how that changes them, if not by rounding."""
        change = ""
        most = self._roles.sizes.get(BATCH, (1, max(_ROWS)))[1]
        for rows in (min(rows, most) for rows in _ROWS):
            inputs = draw_inputs(found.inputs, np.random.default_rng(rows), {**found.sizes, BATCH: rows})
            try:
                together = self._together(inputs)
                alone = [self._alone(take_row(found.inputs, inputs, row)) for row in range(rows)]
            except RuntimeError as error:
                return False, f"with {rows} rows, {error}"
            for name, array in together.items():
                is_same = _is_same(array, [row[name] for row in alone])
                if is_same is None:
                    shape = alone[0][name].shape
                    hint = ": leave it out (--output)?" if array.shape == shape and len(together) > 1 else ""
                    words = f'"{name}" has the shape {list(array.shape)}, and {list(shape)} for one row'
                    return False, f"with {rows} rows, {words}{hint}"
                if not is_same:
                    change = change or f'with {rows} rows, "{name}" is not what the file gives for each alone'
        return True, change

    def range_of(self, found: Found, axis: str) -> tuple[int, int] | None:
        """Find the smallest and the largest size of an axis with which the file runs.

        (1, 0) if it runs with any; None if it runs with some sizes, and not with others between these.
        """
        usual = self._run(found.inputs, found.sizes)

        def runs(size: int) -> bool:
            results = self._run(found.inputs, {**found.sizes, axis: size})
            if usual is None or results is None:
                return False
            return all(results[name].ndim == array.ndim for name, array in usual.items())  # a Squeeze may change it

        def last(good: int, bad: int) -> int:
            while abs(good - bad) > 1:
                middle = (good + bad) // 2
                good, bad = (middle, bad) if runs(middle) else (good, middle)
            return good

        size = found.sizes[axis]
        if not all(runs(size + more) for more in (1, 2, 7)):
            return None
        if all(runs(few) for few in (1, 2, 3)):
            return 1, 0
        most, beyond = size + 7, 2 * size
        while beyond <= _LARGEST and runs(beyond):
            most, beyond = beyond, 2 * beyond
        return last(size, 0), _LARGEST if beyond > _LARGEST else last(most, beyond)

    def _choices(self) -> Iterator[dict[str, int]]:
        """List which axis of each input may be the batch; it is the same axis of inputs with like axes."""
        groups: dict[object, list[FileInput]] = {}
        for each in self._inputs:
            sizes = tuple(axis.size for axis in each.tensor.axes)
            groups.setdefault((sizes, each.candidates), []).append(each)
        for chosen in itertools.product(*(members[0].candidates for members in groups.values())):
            pairs = zip(groups.values(), chosen, strict=True)
            yield {each.tensor.name: at for members, at in pairs for each in members}

    def _running_sizes(self, inputs: Sequence[manifest_pb2.Tensor]) -> dict[str, int] | None:
        """Find sizes of the axes except the batch with which one row runs."""
        names = sequence_axes(inputs)
        tried = set()
        for size in (*_SIZES, *(_LONG if len(names) == 1 else ())):
            limits = {name: self._roles.sizes.get(name, (size, size)) for name in names}
            sizes = {name: min(max(size, low), high) for name, (low, high) in limits.items()}
            key = tuple(sizes.values())
            if key not in tried and self._run(inputs, sizes) is not None:
                return sizes
            tried.add(key)
        return None

    def _run(self, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, int]) -> Arrays | None:
        try:
            return self._alone(draw_inputs(inputs, np.random.default_rng(0), {**sizes, BATCH: 1}))
        except RuntimeError as error:
            self._refused = self._refused or " ".join(str(error).split())
            return None


def _is_same(found: npt.NDArray[Any], rows: Sequence[npt.NDArray[Any]]) -> bool | None:
    """Compare rows that were run together, along an axis of size 1, with each of them alone. None for other shapes."""
    shape = rows[0].shape
    if any(row.shape != shape for row in rows):
        return None
    for axis in (at for at, size in enumerate(shape) if size == 1):
        expected = np.concatenate(rows, axis)
        if found.shape == expected.shape and found.dtype == expected.dtype:
            if found.dtype.kind != "f":
                return np.array_equal(found, expected)
            return float(distances(found, expected).max(initial=0.0)) <= EAGER_ROUNDING * scale(expected)
    return None
