"""Whether what is proven of graphs holds on drawn values."""

from collections.abc import Iterator

import numpy as np
import onnxruntime

from kit.graph_text import FEATURES
from rnnserve.export.analysis import Property
from rnnserve.protos import manifest_pb2

_TOLERANCE = 2e-4
_ROWS, _STEPS = 4, 7


def attempt(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph. Nothing where it does not take such sizes."""
    try:
        return run(session, inputs)
    except Exception:  # noqa: BLE001 - whatever onnxruntime says
        return {}


def run(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(None, {k: v for k, v in inputs.items() if k in wanted}), strict=True))


def draw(random: np.random.Generator, rows: int, steps: int) -> dict[str, np.ndarray]:
    lengths = random.integers(1, steps, rows, endpoint=True)
    return {"x": random.normal(size=(rows, steps, FEATURES)).astype(np.float32), "lengths": lengths}


def described_outputs(session: onnxruntime.InferenceSession) -> list[manifest_pb2.Tensor]:
    """Describe the results that have an axis as large as the batch, and otherwise fixed ones and steps."""
    random = np.random.default_rng(1)
    sizes = [(11, 13), (17, 20)]  # of different differences, so that a few steps less than all are never the rows
    try:
        both = [run(session, draw(random, *pair) | {"lengths": np.full(pair[0], pair[1])}) for pair in sizes]
    except Exception:  # noqa: BLE001 - it takes some sizes only
        return []
    outputs = []
    for name in both[0]:
        tensor = manifest_pb2.Tensor(name=name)
        for first, second in zip(both[0][name].shape, both[1][name].shape, strict=True):
            axis = {(11, 17): ("batch", -1), (13, 20): ("sequence", -1)}.get((first, second))
            if axis is None and first != second:
                break
            tensor.axes.add(name=axis[0] if axis else "fixed", size=axis[1] if axis else first)
        names = [axis.name for axis in tensor.axes]
        whole = len(names) == both[0][name].ndim
        if whole and names.count("batch") == 1 and names.count("sequence") <= 1:
            outputs.append(tensor)
    return outputs


def violations(
    session: onnxruntime.InferenceSession,
    kind: Property,
    outputs: list[manifest_pb2.Tensor],
    random: np.random.Generator,
) -> Iterator[str]:
    """Try a property on drawn values; give the outputs of which it does not hold."""
    if not outputs:
        return
    for scale in (1, 30):
        inputs = draw(random, _ROWS, _STEPS)
        inputs["x"] = inputs["x"] * np.float32(scale)
        for some, others in _PAIRS[kind](session, inputs, random):
            for tensor in outputs if some[0] and others[0] else []:
                if not _agree(tensor, some, others):
                    yield tensor.name


def _rows(session, inputs, random):
    whole = attempt(session, inputs)
    for row in range(_ROWS):
        at = {"row": row, "before": _STEPS}
        yield (
            (whole, at),
            (attempt(session, {name: array[row : row + 1] for name, array in inputs.items()}), at | {"row": 0}),
        )
        others = inputs["x"].copy()
        others[np.arange(_ROWS) != row] = np.nan
        yield (whole, at), (attempt(session, inputs | {"x": others}), at)
    order = random.permutation(_ROWS)
    turned = attempt(session, {name: array[order] for name, array in inputs.items()})
    yield from (
        ((whole, {"row": int(row), "before": _STEPS}), (turned, {"row": at, "before": _STEPS}))
        for at, row in enumerate(order)
    )


def _padding(session, inputs, random):
    for row in range(_ROWS):
        length = int(inputs["lengths"][row])
        at = {"row": 0, "before": length}
        alone = {"x": inputs["x"][row : row + 1, :length], "lengths": inputs["lengths"][row : row + 1]}
        exact = attempt(session, alone)
        for more, scale in ((1, 9), (4, 9), (2, np.nan)):
            noise = random.normal(size=(1, more, FEATURES)).astype(np.float32) * np.float32(scale)
            padded = alone | {"x": np.concatenate([alone["x"], noise], 1)}
            yield (exact, at), (attempt(session, padded), at)


def _causality(session, inputs, random):
    """What is cut off after a step, or changed, does not change what is before."""
    inputs = inputs | {"lengths": np.full(_ROWS, 2)}
    whole = attempt(session, inputs)
    for step in (2, 4):
        cut = attempt(session, inputs | {"x": inputs["x"][:, :step]})
        changed, lost = inputs["x"].copy(), inputs["x"].copy()
        changed[:, step:] = random.normal(size=changed[:, step:].shape) * 9
        lost[:, step:] = np.nan
        for other in (cut, *(attempt(session, inputs | {"x": each}) for each in (changed, lost))):
            at = {"row": None, "before": step, "steps_only": True}
            yield (whole, at), (other, at)


_PAIRS = {Property.ROWS: _rows, Property.PADDING: _padding, Property.CAUSALITY: _causality}


def _agree(tensor: manifest_pb2.Tensor, some, others) -> bool:
    if not all(_has_row(tensor, results[tensor.name], at["row"]) for results, at in (some, others)):
        return False
    taken = [_taken(tensor, results[tensor.name], **at) for results, at in (some, others)]
    if taken[0] is None:
        return True
    common = tuple(slice(0, min(sizes)) for sizes in zip(taken[0].shape, taken[1].shape, strict=True))
    left, right = (array[common].astype(np.float64) for array in taken)
    largest = max(1.0, float(np.abs(right[np.isfinite(right)]).max(initial=0)))
    return bool(np.allclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE * largest, equal_nan=True))


def _has_row(tensor: manifest_pb2.Tensor, array, row: int | None) -> bool:
    return row is None or row < array.shape[[axis.name for axis in tensor.axes].index("batch")]


def _taken(tensor, array, *, row, before, steps_only=False):
    names = [axis.name for axis in tensor.axes]
    if steps_only and "sequence" not in names:
        return None
    if "sequence" in names:
        array = np.take(array, range(min(before, array.shape[names.index("sequence")])), names.index("sequence"))
    return array if row is None else np.take(array, [row], names.index("batch"))
