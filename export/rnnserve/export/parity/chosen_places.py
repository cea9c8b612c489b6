"""Check indices that an ONNX model chooses with ArgMax, ArgMin or TopK against the values that it compares.

Extreme inputs saturate layers, so states may be equal but for an ulp. Then different implementations choose different
indices, and moving the inputs doesn't reveal this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.onnx_runner import OnnxRunner
from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.export.tensors import Arrays
from rnnserve.protos.differences import scale

_Array = npt.NDArray[Any]

_PASSES = frozenset({"Identity", "Squeeze", "Unsqueeze"})  # these operators keep the chosen indices


class ChosenPlaces:
    """Outputs of an ONNX model with chosen indices, and the values among which they were chosen."""

    def __init__(self, model: onnx.ModelProto, providers: Sequence[str]) -> None:
        """Find these outputs. If there are any, turn the compared values into outputs as well."""
        producers = {name: node for node in model.graph.node for name in node.output}
        chosen = ((output.name, _choice(output.name, producers)) for output in model.graph.output)
        self._nodes = {name: node for name, node in chosen if node is not None}
        if self._nodes:
            shown = onnx.ModelProto()
            shown.CopyFrom(model)
            known = {value.name for value in (*model.graph.output, *model.graph.input)}
            names = sorted({node.input[0] for node in self._nodes.values()} - known)
            shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
            self._runner = OnnxRunner(shown.SerializeToString(), providers=providers)

    def are_tied(
        self, inputs: Arrays, name: str, found: _Array, eager: _Array, limits: ParityLimits
    ) -> npt.NDArray[np.bool_]:
        """Return a mask of ONNX's indices that are as good as eager's, because their values are equal but for rounding.

        Returns False everywhere if PyTorch would choose other indices from ONNX's values: the first of equal values.
        """
        node = self._nodes.get(name)
        if node is None:
            return np.zeros(found.shape, bool)
        values = (inputs | self._runner(inputs))[node.input[0]]
        axis = _integer(node, "axis", -1 if node.op_type == "TopK" else 0)
        falls = node.op_type == "ArgMax" or (node.op_type == "TopK" and _integer(node, "largest", 1) == 1)
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            return np.zeros(found.shape, bool)
        order = np.argsort(-values if falls else values, axis=axis, kind="stable")
        first = np.take(order, range(found.size * values.shape[axis] // values.size), axis)
        if first.size != found.size or not np.array_equal(first, found.reshape(first.shape)):
            return np.zeros(found.shape, bool)
        at_found, at_eager = (np.take_along_axis(values, at.reshape(first.shape), axis) for at in (found, eager))
        tied: npt.NDArray[np.bool_] = np.abs(at_found - at_eager) <= limits.sequence_largest * scale(values)
        return tied.reshape(found.shape)


def _choice(name: str, producers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """Return the node that chooses an output's indices. None if there is none."""
    node = producers.get(name)
    while node is not None and node.op_type in _PASSES:
        name, node = node.input[0], producers.get(node.input[0])
    if node is not None and (
        node.op_type in ("ArgMax", "ArgMin") or (node.op_type == "TopK" and name in node.output[1:])
    ):
        return node
    return None


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
