"""Small graphs of which sequences are cut into parts."""

import dataclasses
import re

import numpy as np

from kit.artifacts import build_model, tensor
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL

FEATURES = 3
_DRAWN = np.random.default_rng(5)


def _weights(*shape):
    return _DRAWN.normal(size=shape).astype(np.float32)


# What the operators of a graph may take beside the inputs x (batch, sequence, 3) and lengths (batch,).
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "minus": np.array([-1]),
    "minus_two": np.array([-2]),
    "two": np.array([2]),
    "three": np.array([FEATURES]),
    "last": np.array(-1),
    "scalar_0": np.array(0),
    "scalar_1": np.array(1),
    "weights": _weights(FEATURES, FEATURES),
    "kernel": _weights(FEATURES, FEATURES, 3),
    "bias": _weights(FEATURES),
    "scale": np.abs(_weights(FEATURES)) + 1,
    "before_two": np.array([0, 0, 2, 0, 0, 0]),
    "W": _weights(1, 3 * FEATURES, FEATURES),
    "R": _weights(1, 3 * FEATURES, FEATURES),
    "W1": _weights(1, FEATURES, FEATURES),
    "R1": _weights(1, FEATURES, FEATURES),
    "W4": _weights(1, 4 * FEATURES, FEATURES),
    "R4": _weights(1, 4 * FEATURES, FEATURES),
    "W_both": _weights(2, 3 * FEATURES, FEATURES),
    "learned": _weights(1, 1, FEATURES),
    "any_3": np.array([-1, FEATURES]),
    "loud": np.array(60, np.float32),
    "late": np.array(600),
}


@dataclasses.dataclass(frozen=True)
class CutGraph:
    """A graph from x (batch, sequence, 3), and perhaps lengths and h_0 (1, batch, 3), to y.

    Attributes:
        nodes: Its nodes, in ONNX's text syntax.
        has_steps: Whether y has a step for each of x.
        inputs: The inputs beside x: "lengths", "h_0".
        states: By final state that is declared, the initial one.
    """

    nodes: str
    has_steps: bool = True
    inputs: tuple = ()
    states: dict = dataclasses.field(default_factory=dict)

    @property
    def model(self):
        """The graph, as a file has it."""
        words = set(re.findall(r"\w+", self.nodes))
        constants = {name: value for name, value in CONSTANTS.items() if name in words}
        description = self.description
        return build_model(self.nodes, description.inputs, description.outputs, constants, opset=20)

    @property
    def description(self):
        """Its description."""
        features, state = ("features", FEATURES), (("layers", 1), "batch", ("features", FEATURES))
        inputs = {
            "lengths": tensor("lengths", "INT64", "batch", lengths_of="sequence"),
            "h_0": tensor("h_0", "FP32", *state, default=manifest_pb2.DEFAULT_ZEROS),
        }
        finals = [tensor(final, "FP32", *state, continues_as=initial) for final, initial in self.states.items()]
        return ModelDescription(
            name="graph",
            inputs=[tensor("x", "FP32", "batch", "sequence", features), *(inputs[name] for name in self.inputs)],
            outputs=[tensor("y", "FP32", "batch", *["sequence"] * self.has_steps, features), *finals],
            labels=(),
            samples=(),
            sizes={"batch": (1, 33), "sequence": (1, 64)},
            checkpoint_sha256="",
        )

    def parts(self):
        """What is found of it, and tried."""
        return find_parts(self.description, MODEL, {MODEL: self.model}, OnnxRunner)
