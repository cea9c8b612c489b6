"""A model that declares no state: an ONNX file with a causal convolution before a layer, imported."""

import numpy as np
import onnx
from onnx import TensorProto

from kit.cut_graphs import FEATURES, CutGraph
from rnnserve.export.adoption import Roles, adopt

__all__ = ["BACKWARD", "MODEL", "drawn", "import_found"]

MODEL, BACKWARD = "found", "backward"

NODES = [
    ("Transpose", "x", "c", {"perm": [0, 2, 1]}),
    ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
    ("Transpose", "v", "t", {"perm": [2, 0, 1]}),
    ("Cast", "lengths", "ends", {"to": TensorProto.INT32}),
    ("GRU", "t W R - ends", "all last", {"hidden_size": FEATURES, "name": "gru/node"}),
    ("Squeeze", "all one", "steps", {}),
    ("Transpose", "steps", "y", {"perm": [1, 0, 2]}),
]


def backward(nodes):
    return [
        (operator, given, results, attributes | ({"direction": "reverse"} if operator == "GRU" else {}))
        for operator, given, results, attributes in nodes
    ]


def import_found(folder):
    """Import the model, and one whose layer runs backward; give the repository."""
    for name, nodes in ((MODEL, NODES), (BACKWARD, backward(NODES))):
        onnx.save(CutGraph(nodes, inputs=("lengths",)).model, folder / f"{name}.onnx")
        adopt(folder / f"{name}.onnx", name, folder / "repository", Roles(lengths={"lengths": "sequence"}))
    return folder / "repository"


def drawn(steps, rows=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, steps, FEATURES)).astype(np.float32)
