"""Whether sequences go on from the states that a model declares: where the graph does not say, tried at length."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision
from rnnserve.export.analysis.steps import counts_steps
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.cut_trial import CutTrial, Run
from rnnserve.export.input_drawing import draw_inputs, is_state
from rnnserve.export.tensor_shapes import size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import equally_non_finite
from rnnserve.protos.protocol_words import BATCH

__all__ = ["not_continued"]

_STEPS = tuple(2**power for power in range(12, 0, -1))
"""As far as the model takes them. Each is cut in halves, so that a change at any number of steps up to 4096 shows."""
_ROWS = 2
_LOUD = 100.0  # times the usual, in a second trial
_TOLERANCE = 1e-3
"""Largest difference between floats of the whole and of the parts that is rounding, as a part of the largest value, or
of 1: that of a server's trial."""
_AMPLIFIED = 100.0
"""Largest difference that is rounding, as a multiple of what inputs that are moved by an ulp do."""

Arrays = Mapping[str, npt.NDArray[Any]]


def not_continued(model: ModelDescription, graph: onnx.ModelProto, run: Run, decision: Decision) -> str:
    """Say why sequences may not go on from declared states; empty where they may, as far as it is known.

    Args:
        model: Description of the model, which has one sequence axis and declares states.
        graph: The graph that serves.
        run: A function that runs it.
        decision: Decision on its steps when other states were looked for.
    """
    (axis,) = model.sequence_axes
    if not (decision.readers or counts_steps(graph, model.inputs, model.outputs, axis)):
        return ""
    return _tried(model, axis, run)


def _tried(model: ModelDescription, axis: str, run: Run) -> str:
    trial = CutTrial(run, run, model.inputs, model.outputs, (), (), {}, axis)
    for inputs in _batches(model, axis):
        try:
            whole, found, moved = run(inputs), trial.halves(inputs), run(_moved(inputs))
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
    for wanted in _STEPS:
        sizes = dict.fromkeys(limits, 1) | {axis: wanted, BATCH: _ROWS}
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
    with np.errstate(invalid="ignore"):
        distance = np.abs(one.astype(np.float64) - other.astype(np.float64))
    distance = np.where(equally_non_finite(one, other), 0.0, np.nan_to_num(distance, nan=np.inf))
    return float(distance.max(initial=0.0))


def _within(size: int, low: int, high: int | None) -> int:
    return min(max(size, low), size if high is None else high)
