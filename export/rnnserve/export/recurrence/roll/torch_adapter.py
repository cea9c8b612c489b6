"""What `roll` uses of torch that is not public, tried with torch 2.13."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.fx.traceback
from torch import Tensor, fx

__all__ = ["computed_in", "functional_of", "is_of_a_transform", "lines_of", "share_memory"]


@contextlib.contextmanager
def lines_of(meta: Mapping[str, Any]) -> Iterator[None]:
    """Have what is captured in the context come from a line of the user's code."""
    with torch.fx.traceback.preserve_node_meta():
        torch.fx.traceback.current_meta.update(meta)
        yield


def share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether one tensor is a view of another, both without values."""
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)  # noqa: SLF001 - there is no public way


def is_of_a_transform(tensor: Tensor) -> bool:
    """Whether a tensor has values in a transform only, such as torch.vmap."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))  # noqa: SLF001 - there is no public way


def functional_of(target: Any) -> Any:  # noqa: ANN401 - an operator
    """Give the operator that computes what another one writes; None if there is none."""
    if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the class has no public name
        return None
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    return getattr(packet, target._overloadname, None)  # noqa: SLF001


def computed_in(node: fx.Node) -> Any:  # noqa: ANN401 - a value of a graph
    """Compute a node's value, without values, from those of its arguments; with values, of constants alone."""
    given, named = fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    modes = (getattr(each.meta["val"], "fake_mode", None) for each in node.all_input_nodes)
    with next(filter(None, modes), contextlib.nullcontext()), torch.no_grad():
        return node.target(*given, **named)  # type: ignore[operator] # an operator
