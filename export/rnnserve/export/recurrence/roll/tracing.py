"""Tracing a module at fixed sizes: the operators that it calls, loops unrolled, with the product's own stand-ins."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes
from rnnserve.export.recurrence.refusals import explain, keeps_state, refuse_random_numbers
from rnnserve.export.torch_adapter import TreeSpec, tree_flatten, tree_unflatten

__all__ = ["Traced", "traced"]


@dataclasses.dataclass(frozen=True)
class Traced:
    """A module as a graph, at fixed sizes.

    Attributes:
        graph: Placeholders for parameters and buffers, then for tensors among the arguments; operators; results.
        states: Parameters and buffers by name, in the order of the placeholders.
        constants: Other tensors by the targets of nodes.
        results: Structure of the results.
    """

    graph: fx.Graph
    states: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    results: TreeSpec


def traced(module: nn.Module, args: Arguments, axes: DynamicAxes) -> Traced:
    """Trace a module with arguments of these sizes.

    Raises:
        UnsupportedModule: If its code needs values of tensors, or fails.
    """
    states: dict[str, Tensor] = {
        name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    leaves, structure = tree_flatten(args)
    at = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    specs: list[TreeSpec] = []

    def called(given: list[Tensor], tensors: list[Tensor]) -> list[Any]:
        passed = list(leaves)
        for number, tensor in zip(at, tensors, strict=True):
            passed[number] = tensor
        own = dict(zip(states, given, strict=True))
        flat, spec = tree_flatten(torch.func.functional_call(module, own, tree_unflatten(passed, structure)))
        specs.append(spec)
        return flat

    trace = make_fx(
        called, tracing_mode="fake", pre_dispatch=True, record_stack_traces=True, _allow_non_fake_inputs=True
    )
    try:
        with prepared(module) as held:
            found = trace(list(states.values()), [leaves[number] for number in at])
    except Exception as error:  # torch's errors and the module's own: `explain` has a message for each
        raise explain(error, module, axes, {}) from error
    if held.asked & held.changed:
        raise keeps_state(held.asked & held.changed)
    refuse_random_numbers(found.graph, module)
    constants = {node.target: getattr(found, node.target) for node in found.graph.nodes if node.op == "get_attr"}
    return Traced(found.graph, states, constants, specs[0])
