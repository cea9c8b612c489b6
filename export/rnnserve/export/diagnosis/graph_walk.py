"""Walking a graph to the first node whose result no node of a right export gives."""

import itertools
from collections.abc import Iterator, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.recurrent_nodes import node_title
from rnnserve.export.parity.tolerances import OTHER_FORMULA
from rnnserve.protos.differences import scale

__all__ = ["KnownTensors", "counts", "first_wrong_node", "mistaken_outputs", "same_values"]

_Array = npt.NDArray[Any]

_MOST_AXES = 4  # whose orders are tried


def first_wrong_node(found: GraphValues, right: GraphValues) -> str:
    """Name the first node that goes another way than the module.

    Exporters cut computations into different nodes, so that a right graph may hold results which the other one does
    not. A node is named only if a wrong output is computed from it, and nothing that is computed from it on the way is
    in the right graph. Results are the same in any order of their axes.

    Args:
        found: The graph that is wrong, with its values.
        right: A right export of the same module, with its values for the same inputs.

    Returns:
        A sentence; empty if every result rejoins the right graph.
    """
    known = KnownTensors([array for name, array in right.values.items() if name in right.variable])
    outputs = [value.name for value in found.graph.outputs if value.name is not None]
    wrong = {
        name for name in outputs if name in right.values and not same_values(found.values[name], right.values[name])
    }
    suspects = _ancestors(found, wrong)
    rejoining = _ancestors(
        found, {name for name in found.variable & found.values.keys() if known.has(found.values[name])}
    )
    for node in found.graph:
        for value in node.outputs:
            name = value.name or ""
            result = found.values.get(name)
            if name in found.variable & suspects - rejoining and result is not None and counts(result):
                return _described(node, result, known)
    return ""


def mistaken_outputs(found: GraphValues, right: GraphValues) -> Iterator[str]:
    """Name outputs that give what the module gives under another name."""
    names = [value.name for value in right.graph.outputs if value.name is not None and value.name in found.values]
    for name in names:
        if same_values(found.values[name], right.values[name]):
            continue
        for other in names:
            if other != name and same_values(found.values[name], right.values[other]):
                yield f'output "{name}" gives what the module gives as "{other}": are two outputs swapped?'


def same_values(some: _Array, others: _Array) -> bool:
    """Whether two tensors are the same but for rounding."""
    return some.shape == others.shape and float(
        np.abs(some.astype(np.float64) - others.astype(np.float64)).max(initial=0.0)
    ) <= OTHER_FORMULA * scale(others)


def _ancestors(graph: GraphValues, names: Set[str | None]) -> set[str | None]:
    """Give these values and all that they are computed from."""
    found = set(names)
    for node in reversed(list(graph.graph)):
        if any(value.name in found for value in node.outputs):
            found |= {value.name for value in node.inputs if value is not None and value.name}
    return found


class KnownTensors:
    """Tensors of one computation, found by their numbers.

    Args:
        arrays: The tensors.
    """

    def __init__(self, arrays: list[_Array]) -> None:
        self._by_shape: dict[tuple[int, ...], list[_Array]] = {}
        for array in arrays:
            if counts(array):
                squeezed = _squeezed(array)
                self._by_shape.setdefault(tuple(sorted(squeezed.shape)), []).append(squeezed)

    def has(self, array: _Array) -> bool:
        """Whether one is the same, in any order of its axes."""
        return counts(array) and self.distance(array) <= OTHER_FORMULA * scale(array)

    def distance(self, array: _Array) -> float:
        """How far the nearest tensor is, in any order of its axes; infinite where none has such sizes."""
        squeezed = _squeezed(array)
        candidates = self._by_shape.get(tuple(sorted(squeezed.shape)), [])
        return min((_distance(squeezed, candidate) for candidate in candidates), default=np.inf)


def counts(array: _Array) -> bool:
    """Whether a tensor tells anything: floats, not all equal. Shapes and masks are computed in many ways."""
    return array.dtype.kind == "f" and array.size > 1 and bool(np.ptp(array) > 0)


def _squeezed(array: _Array) -> _Array:
    return array.astype(np.float64).squeeze()


def _distance(some: _Array, others: _Array) -> float:
    orders = itertools.permutations(range(some.ndim)) if some.ndim <= _MOST_AXES else [tuple(range(some.ndim))]
    distances = [
        float(np.abs(turned - others).max())
        for order in orders
        if (turned := some.transpose(order)).shape == others.shape
    ]
    return min(distances, default=np.inf)


def _described(node: ir.Node, array: _Array, known: KnownTensors) -> str:
    distance = known.distance(array)
    near = (
        f"the nearest tensor of a right export is {distance:.3g} away"
        if np.isfinite(distance)
        else "a right export has no tensor of such sizes"
    )
    return f"the first node whose result differs is the {node_title(node)}, which gives {list(array.shape)}: {near}"
