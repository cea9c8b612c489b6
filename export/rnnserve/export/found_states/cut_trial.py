"""Trying a graph whose states were found: sequences whole and in parts have to give the same bits."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision
from rnnserve.export.analysis.decisions import counts_steps
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
    """Runs of a model with one sequence axis: its graph as a whole, and in parts with found states besides.

    Attributes:
        model: The model.
        whole: The graph that serves.
        parts: The same with found states as further inputs and outputs.
        initial: These inputs.
        final: These outputs, in the same order.
        defaults: What stands for initial states that are not zeros, by name.
    """

    model: ModelDescription
    whole: Run
    parts: Run
    initial: Tensors = ()
    final: Tensors = ()
    defaults: Arrays = dataclasses.field(default_factory=dict)

    def difference(self) -> str:
        """Describe what differs if a sequence is cut. Empty if nothing does."""
        for inputs, ragged in self._batches():
            if said := self._differs(inputs) or (self._lost(inputs) if ragged else ""):
                return said
        return ""

    def _batches(self) -> Iterator[tuple[dict[str, npt.NDArray[Any]], bool]]:
        """Draw inputs of full lengths, and of others if the model takes lengths."""
        random, inputs = np.random.default_rng(0), self.model.inputs
        (axis,) = self.model.sequence_axes
        for sample in self.model.samples[:1]:
            places = {tensor.name: axis_of(tensor, BATCH) or 0 for tensor in inputs}
            yield {name: np.concatenate([array, array], places[name]) for name, array in sample.items()}, False
        for sizes in (_sizes(inputs, {axis: steps, BATCH: rows}) for steps in _STEPS for rows in _ROWS):
            yield draw_inputs(inputs, random, sizes), False
            if axis in lengths_inputs(inputs):
                yield draw_inputs(inputs, random, sizes, ragged=True), True

    def _differs(self, inputs: Arrays) -> str:
        """Compare the whole with parts."""
        (axis,) = self.model.sequence_axes
        steps = sizes_of(self.model.inputs, inputs)[axis]
        smallest = size_limits(self.model.inputs)[axis][0]
        inputs = {**inputs, **take_steps(self.model.inputs, inputs, axis, range(steps))}  # of full lengths
        # The states after all steps are compared, too: a server does, since further parts continue from them.
        begun = self.in_parts(inputs, [steps])
        wanted = {**self.whole(inputs), **{tensor.name: begun[tensor.name] for tensor in self.final}}
        cuts = [[steps], [1] * steps, [steps // 2, steps - steps // 2], [1, steps - 1], [steps - 1, 1]]
        for parts in (parts for parts in cuts if min(parts) >= smallest and (len(parts) > 1 or steps > 1)):
            found = self.in_parts(inputs, parts)
            for tensor in (*self.model.outputs, *self.final):
                one, other = wanted[tensor.name], found[tensor.name]
                if one.tobytes() != other.tobytes():
                    what = f'state "{tensor.continues_as}"' if tensor in self.final else f'output "{tensor.name}"'
                    is_measured = one.shape == other.shape and one.dtype.kind == "f"
                    by = f" by {float(np.nanmax(np.abs(one - other))):.2g} in one trial" if is_measured else ""
                    return f"cutting a sequence changes its {what}{by}"
        return ""

    def in_parts(self, inputs: Arrays, parts: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """Run parts of so many steps one after the other, each from the states of the one before."""
        (axis,) = self.model.sequence_axes
        given = self._begun(inputs)
        outputs = [*self.model.outputs, *self.final]
        results = []
        at = 0
        for steps in parts:
            cut = take_steps(self.model.inputs, inputs, axis, range(at, at + steps))
            results.append(self.parts({**given, **cut}))
            given |= {tensor.continues_as: results[-1][tensor.name] for tensor in outputs if tensor.continues_as}
            at += steps
        places = {tensor.name: axis_of(tensor, axis) for tensor in self.model.outputs}
        return {
            tensor.name: results[-1][tensor.name]
            if (place := places.get(tensor.name)) is None
            else np.concatenate([each[tensor.name] for each in results], place)
            for tensor in outputs
        }

    def _lost(self, inputs: Arrays) -> str:
        """Compare the states of rows that are shorter than the batch with those of rows of their length."""
        (axis,) = self.model.sequence_axes
        states = self.parts(self._begun(inputs))
        for row, length in enumerate(inputs[lengths_inputs(self.model.inputs)[axis]]):
            cut = take_steps(self.model.inputs, inputs, axis, range(int(length)))
            alone = self.parts(self._begun({**inputs, **cut}))
            for tensor in self.final:
                at = axis_of(tensor, BATCH) or 0
                if np.take(states[tensor.name], row, at).tobytes() != np.take(alone[tensor.name], row, at).tobytes():
                    return f'its state "{tensor.continues_as}" goes on after the length of a row'
        return ""

    def _begun(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        tensors = [*self.model.inputs, *self.initial]
        return fill_left_out(tensors, inputs, self.defaults, sizes_of(self.model.inputs, inputs))


def _sizes(inputs: Tensors, wanted: Mapping[str, int]) -> dict[str, int]:
    """Give each dynamic axis the size that is wanted, or 1, as far as its limits allow."""
    found = {}
    for axis, (low, high) in size_limits(inputs).items():
        size = wanted.get(axis, 1)
        found[axis] = min(max(size, low), size if high is None else high)
    return found


_MANY_STEPS = tuple(2**power for power in range(12, 0, -1))
"""As far as the model takes them. Each is cut in halves, so that a change at any number of steps up to 4096 shows."""
_LOUD = 100.0  # times the usual, in a second trial
_TOLERANCE = 1e-3
"""Largest difference between floats of the whole and of the parts that is rounding, as a part of the largest value, or
of 1: that of a server's trial."""
_AMPLIFIED = 100.0
"""Largest difference that is rounding, as a multiple of what inputs that are moved by an ulp do."""


def not_continued(model: ModelDescription, graph: onnx.ModelProto, run: Run, decision: Decision) -> str:
    """Give the reason why sequences can't go on from the declared states of a model. Empty if they can.

    That is as far as it is known: it is tried only if the graph may count steps, or read states elsewhere.
    """
    (axis,) = model.sequence_axes
    if not (decision.readers or counts_steps(graph, model.inputs, model.outputs, axis)):
        return ""
    trial = CutTrial(model, run, run)
    for inputs in _long_batches(model, axis):
        steps = sizes_of(model.inputs, inputs)[axis]
        moved = {
            name: np.nextafter(array, np.array(np.inf, array.dtype)) if array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }
        try:
            runs = run(inputs), trial.in_parts(inputs, [steps // 2, steps - steps // 2]), run(moved)
        except RuntimeError:  # of onnxruntime: fewer steps are left to try, such as those that a table has
            continue
        for tensor in model.outputs:
            if said := _long_difference(tensor, *(arrays[tensor.name] for arrays in runs)):
                return said
    return ""


def _long_batches(model: ModelDescription, axis: str) -> Iterator[Arrays]:
    """Draw inputs of many steps, usual ones and loud ones. Counters begin with the least that they can be."""
    random, seen = np.random.default_rng(0), set()
    for wanted in _MANY_STEPS:
        sizes = _sizes(model.inputs, {axis: wanted, BATCH: _ROWS[0]})
        if sizes[axis] in seen or sizes[axis] // 2 < size_limits(model.inputs)[axis][0] or sizes[axis] < 2:
            continue
        seen.add(sizes[axis])
        for times in (1.0, _LOUD):
            begun = dict(draw_inputs(model.inputs, random, sizes))
            for tensor in model.inputs:
                array = begun[tensor.name]
                if is_state(tensor) and array.dtype.kind in "iu":
                    low = tensor.integers.low if tensor.HasField("integers") else 0
                    begun[tensor.name] = np.full_like(array, low)
                elif array.dtype.kind == "f" and not (is_state(tensor) or tensor.HasField("floats")):
                    begun[tensor.name] = (array * times).astype(array.dtype)
            yield begun


def _long_difference(
    tensor: manifest_pb2.Tensor, whole: npt.NDArray[Any], parts: npt.NDArray[Any], moved: npt.NDArray[Any]
) -> str:
    said = f'cutting a sequence changes its output "{tensor.name}"'
    if whole.shape != parts.shape:
        return said
    if DTYPES[tensor.datatype].kind != "f":  # rounding may turn a choice, such as an argmax
        return said if tensor.continues_as and whole.tobytes() != parts.tobytes() else ""
    distance, rounding = (float(distances(whole, each).max(initial=0.0)) for each in (parts, moved))
    limit = _TOLERANCE * max(1.0, float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0)))
    if distance <= max(limit, _AMPLIFIED * rounding):
        return ""
    return f"{said}, by {distance:.2g} in one trial of many steps"
