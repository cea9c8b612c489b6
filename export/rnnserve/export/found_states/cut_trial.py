"""Trying a graph whose states were found: sequences whole and in parts have to give the same bits."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision
from rnnserve.export.analysis.steps import counts_steps
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.tensors import axis_of, draw_inputs, is_state, lengths_inputs, size_limits, sizes_of, take_steps
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import distances
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out

Arrays = Mapping[str, npt.NDArray[Any]]
Tensors = Sequence[manifest_pb2.Tensor]
Run = Callable[[Arrays], Arrays]

_STEPS = (2, 3, 7, 12)
_ROWS = (2, 4)  # even: of an odd number of rows onnxruntime computes the last one by another kernel


@dataclasses.dataclass(frozen=True)
class CutTrial:
    """Runs of a graph, whole and in parts.

    Attributes:
        whole: The graph that serves.
        parts: The same with found states as further inputs and outputs.
        inputs: Inputs of the graph that serves, described.
        outputs: Outputs, likewise.
        initial: Further inputs of the other.
        final: Further outputs, in the same order.
        defaults: What stands for initial states that are not zeros, by name.
        axis: The sequence axis.
        samples: Given inputs.
    """

    whole: Run
    parts: Run
    inputs: Tensors
    outputs: Tensors
    initial: Tensors
    final: Tensors
    defaults: Arrays
    axis: str
    samples: Sequence[Arrays] = ()

    def reason(self) -> str:
        """Say what differs where a sequence is cut; empty where nothing does."""
        for inputs, ragged in self._batches():
            if said := self._differs(inputs) or (self._lost(inputs) if ragged else ""):
                return said
        return ""

    def _batches(self) -> Iterator[tuple[dict[str, npt.NDArray[Any]], bool]]:
        """Draw inputs: of full lengths, and, where the model takes lengths, of others."""
        random = np.random.default_rng(0)
        limits = size_limits(self.inputs)
        has_lengths = self.axis in lengths_inputs(self.inputs)
        for sample in self.samples[:1]:
            places = {tensor.name: axis_of(tensor, BATCH) or 0 for tensor in self.inputs}
            yield {name: np.concatenate([array, array], places[name]) for name, array in sample.items()}, False
        for steps, rows in ((steps, rows) for steps in _STEPS for rows in _ROWS):
            sizes = dict.fromkeys(limits, 1) | {self.axis: steps, BATCH: rows}
            sizes = {axis: _within(size, *limits.get(axis, (1, None))) for axis, size in sizes.items()}
            yield draw_inputs(self.inputs, random, sizes), False
            if has_lengths:
                yield draw_inputs(self.inputs, random, sizes, ragged=True), True

    def _differs(self, inputs: Arrays) -> str:
        """Compare the whole with parts."""
        steps = sizes_of(self.inputs, inputs)[self.axis]
        smallest = size_limits(self.inputs)[self.axis][0]
        inputs = {**inputs, **take_steps(self.inputs, inputs, self.axis, range(steps))}  # of full lengths
        # What there is after all steps is compared, too: a server does, since further parts continue from it.
        begun = self.in_parts(inputs, [steps])
        wanted = {**self.whole(inputs), **{tensor.name: begun[tensor.name] for tensor in self.final}}
        cuts = [[steps], [1] * steps, [steps // 2, steps - steps // 2], [1, steps - 1], [steps - 1, 1]]
        for parts in (parts for parts in cuts if min(parts) >= smallest and (len(parts) > 1 or steps > 1)):
            found = self.in_parts(inputs, parts)
            for tensor in (*self.outputs, *self.final):
                one, other = wanted[tensor.name], found[tensor.name]
                if one.tobytes() != other.tobytes():
                    what = f'state "{tensor.continues_as}"' if tensor in self.final else f'output "{tensor.name}"'
                    return f"cutting a sequence changes its {what}{_by(one, other)}"
        return ""

    def in_parts(self, inputs: Arrays, parts: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """Run parts one after the other, each from the states of the one before."""
        given = self._begun(inputs)
        outputs = [*self.outputs, *self.final]
        results = []
        at = 0
        for steps in parts:
            cut = take_steps(self.inputs, inputs, self.axis, range(at, at + steps))
            results.append(self.parts({**given, **cut}))
            given |= {tensor.continues_as: results[-1][tensor.name] for tensor in outputs if tensor.continues_as}
            at += steps
        places = {tensor.name: axis_of(tensor, self.axis) for tensor in self.outputs}
        return {
            tensor.name: results[-1][tensor.name]
            if (place := places.get(tensor.name)) is None
            else np.concatenate([each[tensor.name] for each in results], place)
            for tensor in outputs
        }

    def _lost(self, inputs: Arrays) -> str:
        """Compare the states of rows that are shorter than the batch with those of rows of their length."""
        states = self.parts(self._begun(inputs))
        for row, length in enumerate(inputs[lengths_inputs(self.inputs)[self.axis]]):
            cut = take_steps(self.inputs, inputs, self.axis, range(int(length)))
            alone = self.parts(self._begun({**inputs, **cut}))
            for tensor in self.final:
                at = axis_of(tensor, BATCH) or 0
                if np.take(states[tensor.name], row, at).tobytes() != np.take(alone[tensor.name], row, at).tobytes():
                    return f'its state "{tensor.continues_as}" goes on after the length of a row'
        return ""

    def _begun(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return fill_left_out([*self.inputs, *self.initial], inputs, self.defaults, sizes_of(self.inputs, inputs))


def _within(size: int, low: int, high: int | None) -> int:
    return min(max(size, low), size if high is None else high)


def _by(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> str:
    if one.shape != other.shape or one.dtype.kind != "f":
        return ""
    return f" by {float(np.nanmax(np.abs(one - other))):.2g} in one trial"


_MANY_STEPS = tuple(2**power for power in range(12, 0, -1))
"""As far as the model takes them. Each is cut in halves, so that a change at any number of steps up to 4096 shows."""
_LOUD = 100.0  # times the usual, in a second trial
_TOLERANCE = 1e-3
"""Largest difference between floats of the whole and of the parts that is rounding, as a part of the largest value, or
of 1: that of a server's trial."""
_AMPLIFIED = 100.0
"""Largest difference that is rounding, as a multiple of what inputs that are moved by an ulp do."""


def not_continued(model: ModelDescription, graph: onnx.ModelProto, run: Run, decision: Decision) -> str:
    """Say why sequences may not go on from declared states, of a model with one sequence axis; empty if they may.

    That is as far as it is known: it is tried only if the graph may count steps, or read states elsewhere.
    """
    (axis,) = model.sequence_axes
    if not (decision.readers or counts_steps(graph, model.inputs, model.outputs, axis)):
        return ""
    trial = CutTrial(run, run, model.inputs, model.outputs, (), (), {}, axis)
    for inputs in _batches(model, axis):
        steps = sizes_of(model.inputs, inputs)[axis]
        try:
            whole, moved = run(inputs), run(_moved(inputs))
            found = trial.in_parts(inputs, [steps // 2, steps - steps // 2])
        except RuntimeError:  # of onnxruntime: fewer steps are left to try, such as those that a table has
            continue
        for tensor in model.outputs:
            said = _differs(tensor, *(arrays[tensor.name] for arrays in (whole, found, moved)))
            if said:
                return said
    return ""


def _batches(model: ModelDescription, axis: str) -> Iterator[Arrays]:
    """Draw inputs of many steps, usual ones and loud ones."""
    random, limits = np.random.default_rng(0), size_limits(model.inputs)
    seen = set()
    for wanted in _MANY_STEPS:
        sizes = dict.fromkeys(limits, 1) | {axis: wanted, BATCH: _ROWS[0]}
        sizes = {name: _within(size, *limits.get(name, (1, None))) for name, size in sizes.items()}
        if sizes[axis] in seen or sizes[axis] // 2 < limits[axis][0] or sizes[axis] < 2:
            continue
        seen.add(sizes[axis])
        for times in (1.0, _LOUD):
            yield _begun(model.inputs, draw_inputs(model.inputs, random, sizes), times)


def _begun(inputs: Sequence[manifest_pb2.Tensor], arrays: Arrays, times: float) -> Arrays:
    """Let counters begin with the least that they can be, and other inputs be as loud as is asked."""
    begun = dict(arrays)
    for tensor in inputs:
        array = arrays[tensor.name]
        if is_state(tensor) and array.dtype.kind in "iu":
            low = tensor.integers.low if tensor.HasField("integers") else 0
            begun[tensor.name] = np.full_like(array, low)
        elif array.dtype.kind == "f" and not (is_state(tensor) or tensor.HasField("floats")):
            begun[tensor.name] = (array * times).astype(array.dtype)
    return begun


def _moved(inputs: Arrays) -> Arrays:
    return {
        name: np.nextafter(array, np.array(np.inf, array.dtype)) if array.dtype.kind == "f" else array
        for name, array in inputs.items()
    }


def _differs(
    tensor: manifest_pb2.Tensor, whole: npt.NDArray[Any], parts: npt.NDArray[Any], moved: npt.NDArray[Any]
) -> str:
    told = f'cutting a sequence changes its output "{tensor.name}"'
    if whole.shape != parts.shape:
        return told
    if DTYPES[tensor.datatype].kind != "f":  # rounding may turn a choice, such as an argmax
        return told if tensor.continues_as and whole.tobytes() != parts.tobytes() else ""
    distance = _distance(whole, parts)
    finite = np.abs(whole[np.isfinite(whole)])
    limit = _TOLERANCE * max(1.0, float(finite.max(initial=0.0)))
    if distance <= limit or distance <= _AMPLIFIED * _distance(whole, moved):
        return ""
    return f"{told}, by {distance:.2g} in one trial of many steps"


def _distance(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(distances(one, other).max(initial=0.0))
