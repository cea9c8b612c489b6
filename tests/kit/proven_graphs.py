"""Whether what is proven of random graphs holds on drawn values."""

import collections
from collections.abc import Iterator

import numpy as np
import onnxruntime

from kit.graph_text import FEATURES, INPUTS
from kit.random_graphs import RandomGraph
from rnnserve.export.analysis import Property, Verdict, decide
from rnnserve.protos import manifest_pb2

__all__ = ["try_graph", "violations"]

_TOLERANCE = 2e-4
_ROWS, _STEPS = 4, 7


def try_graph(seed: int, operators: int) -> collections.Counter[str]:
    """Make a graph, decide what holds of it, and try what is proven. Raises AssertionError where it does not hold."""
    graph = RandomGraph(seed, operators)
    session = session_of(graph, graph.outputs)
    counts: collections.Counter[str] = collections.Counter()
    if session is None:
        counts["not run"] += 1
        return counts
    outputs = described_outputs(session)
    if not outputs:
        counts["nothing to describe"] += 1
        return counts
    decided = decide(graph.model([tensor.name for tensor in outputs]), INPUTS, outputs)
    for kind, decisions in decided.items():
        counts.update(f"{kind} {decision.verdict}" for decision in decisions.values())
        proven = [t for t in outputs if decisions[t.name].verdict is Verdict.PROVEN]
        found = list(violations(session, kind, proven, np.random.default_rng(seed)))
        assert not found, f"seed {seed}: {kind} is proven, but {found}\\n{graph.used}"
    return counts


def session_of(graph: RandomGraph, outputs: list[str]) -> onnxruntime.InferenceSession | None:
    """Load a graph; None where onnxruntime does not run it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = graph.model(outputs, runs=True).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - whatever onnxruntime says of such a graph
        return None
    return session if attempt(session, draw(np.random.default_rng(0), 3, 5)) else None


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
    sizes = [(11, 13), (17, 19)]
    try:
        both = [run(session, draw(random, *pair) | {"lengths": np.full(pair[0], pair[1])}) for pair in sizes]
    except Exception:  # noqa: BLE001 - it takes some sizes only
        return []
    outputs = []
    for name in both[0]:
        tensor = manifest_pb2.Tensor(name=name)
        for first, second in zip(both[0][name].shape, both[1][name].shape, strict=True):
            axis = {(11, 17): ("batch", -1), (13, 19): ("sequence", -1)}.get((first, second))
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
        for more in (1, 4):
            noise = random.normal(size=(1, more, FEATURES)).astype(np.float32) * 9
            padded = alone | {"x": np.concatenate([alone["x"], noise], 1)}
            yield (exact, at), (attempt(session, padded), at)


def _causality(session, inputs, random):
    """What is cut off after a step, or changed, does not change what is before."""
    inputs = inputs | {"lengths": np.full(_ROWS, 2)}
    whole = attempt(session, inputs)
    for step in (2, 4):
        cut = attempt(session, inputs | {"x": inputs["x"][:, :step]})
        changed = inputs["x"].copy()
        changed[:, step:] = random.normal(size=changed[:, step:].shape) * 9
        for other in (cut, attempt(session, inputs | {"x": changed})):
            at = {"row": None, "before": step, "steps_only": True}
            yield (whole, at), (other, at)


_PAIRS = {Property.ROWS: _rows, Property.PADDING: _padding, Property.CAUSALITY: _causality}


def _agree(tensor: manifest_pb2.Tensor, some, others) -> bool:
    taken = [_taken(tensor, results[tensor.name], **at) for results, at in (some, others)]
    if taken[0] is None:
        return True
    common = tuple(slice(0, min(sizes)) for sizes in zip(taken[0].shape, taken[1].shape, strict=True))
    left, right = (array[common].astype(np.float64) for array in taken)
    largest = max(1.0, float(np.abs(right[np.isfinite(right)]).max(initial=0)))
    return bool(np.allclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE * largest, equal_nan=True))


def _taken(tensor, array, *, row, before, steps_only=False):
    names = [axis.name for axis in tensor.axes]
    if steps_only and "sequence" not in names:
        return None
    if "sequence" in names:
        array = np.take(array, range(min(before, array.shape[names.index("sequence")])), names.index("sequence"))
    return array if row is None else np.take(array, [row], names.index("batch"))
