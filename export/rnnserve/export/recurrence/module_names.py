"""Names of nodes that carry something from step to step, and of weights: after the user's module that they are of."""

import ast

import onnx_ir as ir
from torch import nn

from rnnserve.export.held_modules import path_of_the_users
from rnnserve.export.recurrence.graph_values import values_of

__all__ = ["name_after_modules"]

_CARRYING = {"RNN", "GRU", "LSTM", "Scan", "Conv", "CumSum", "Pad", "Concat"}
_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter writes the paths of the modules around a node, outermost first, and then the node's own name."""


def name_after_modules(model: ir.Model, module: nn.Module) -> None:
    """Write the path of their module before the names of such nodes, in place: "encoder.0/node_gru__1".

    Weights have the names that they have in the user's module.

    Args:
        model: The graph.
        module: Module that was captured: what is wrapped around the user's is left out of paths.
    """
    wrapped = path_of_the_users(module)
    for node in model.graph:
        path = _module(node.metadata_props.get(_SCOPES, ""))
        if wrapped and f"{path}.".startswith(f"{wrapped}."):
            path = path[len(wrapped) + 1 :]
        if node.op_type in _CARRYING and path and node.name and not node.name.startswith(f"{path}/"):
            node.name = f"{path}/{node.name}"
    if wrapped:
        _name_weights(model, f"{wrapped}.")


def _name_weights(model: ir.Model, before: str) -> None:
    """Take the path of the user's module from the names of weights; the order in which the file has them stays."""
    weights, taken = model.graph.initializers, {value.name for value in values_of(model)}
    for value in list(weights.values()):
        name = str(value.name)
        short = name.removeprefix(before)
        if short != name and short not in taken:
            value.name = short
        else:
            weights[name] = weights.pop(name)


def _module(scopes: str) -> str:
    """The path of the innermost module; empty where it is the exported one, or not known."""
    try:
        found = ast.literal_eval(scopes)
    except (ValueError, SyntaxError):
        return ""
    paths = found[:-1] if isinstance(found, list) else []
    return str(paths[-1]) if paths and isinstance(paths[-1], str) else ""
