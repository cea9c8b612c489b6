"""Exporting and comparing the operators of a family."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils import _pytree

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner
from support.operator_grid.operators import Family, Operator

__all__ = ["differences", "refusal_of", "try_family"]

_ULPS = 8  # of float32: onnxruntime's kernels are not correctly rounded, nor are eager's
_TINY = 1.2e-38  # float32's smallest normal number: kernels may flush what is below it


class _Operators(nn.Module):
    """All operators of a family, each result a tensor of its own."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        self.operators = operators

    def forward(self, *inputs):
        return tuple(leaf.clone() for one in self.operators for leaf in _pytree.tree_leaves(one.compute(*inputs)))


def try_family(family: Family, *, sample: int = 3) -> dict[str, list[str]]:
    """Export the operators that are not to be refused, in one module, and compare each with eager.

    Args:
        family: The operators.
        sample: How many rows the export sees; it runs with all.

    Returns:
        By name, what differs; empty where an operator is right.
    """
    operators = [operator for operator in family.operators if not operator.refused]
    runner = _export(operators, family.inputs, sample)
    found = iter(runner({f"x{at}": tensor.numpy() for at, tensor in enumerate(family.inputs)}).values())
    doubles = [tensor.double() if tensor.dtype == torch.float32 else tensor for tensor in family.inputs]
    result = {}
    for operator in operators:
        eager = _leaves(operator, family.inputs)
        try:
            exact = _leaves(operator, doubles)
        except (RuntimeError, TypeError):
            exact = eager
        result[operator.name] = [
            line
            for one, reference in zip(eager, exact, strict=True)
            for line in differences(one.numpy(), next(found), reference.numpy(), operator.within)
        ]
    return result


def refusal_of(operator: Operator, inputs: Sequence[torch.Tensor]) -> str:
    """Export one operator, and give the message that it is refused with; empty if it is not."""
    try:
        _export([operator], inputs, 3)
    except Exception as error:  # noqa: BLE001 - the test looks at the class, too
        return f"{type(error).__name__}: {error}"
    return ""


def _export(operators: Sequence[Operator], inputs: Sequence[torch.Tensor], sample: int) -> OnnxRunner:
    module = _Operators(operators).eval()
    count = sum(len(_leaves(operator, inputs)) for operator in operators)
    program = export_onnx(
        module,
        tuple(tensor[:sample] for tensor in inputs),
        input_names=[f"x{at}" for at in range(len(inputs))],
        output_names=[f"y{at}" for at in range(count)],
        dynamic_shapes=tuple({0: "batch"} for _ in inputs),
    )
    return OnnxRunner(program.model_proto.SerializeToString())


def _leaves(operator: Operator, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [leaf.detach().contiguous() for leaf in _pytree.tree_leaves(operator.compute(*inputs))]


def differences(
    eager: npt.NDArray[Any], found: npt.NDArray[Any], exact: npt.NDArray[Any], allowed: float = 0.0
) -> Iterator[str]:
    """Say where onnxruntime's result is neither eager's nor nearer to float64's: kinds of values, first examples.

    Signs of zeros are not compared: onnxruntime's Where, Max and Add lose them.

    Args:
        eager: In the module's own type.
        found: onnxruntime's.
        exact: Eager's in float64.
        allowed: A further distance that is allowed.
    """
    if (eager.shape, eager.dtype) != (found.shape, found.dtype):
        yield f"expected {eager.dtype} {eager.shape}, found {found.dtype} {found.shape}"
        return
    if eager.dtype.kind != "f":
        yield from _examples("values", eager != found, eager, found)
        return
    with np.errstate(all="ignore"):
        exact = exact.astype(np.float64)
        same = (eager == found) | (np.isnan(eager) & np.isnan(found))
        # Where float32 overflows on the way in eager, and not in onnxruntime, float64 has the same as onnxruntime.
        same |= (exact.astype(found.dtype) == found) | (np.isnan(exact) & np.isnan(found))
        finite = np.isfinite(eager) & np.isfinite(found)
        nearby = np.where(np.isfinite(exact), exact, eager.astype(np.float64))
        limit = np.maximum(_ULPS * np.spacing(np.abs(nearby).astype(np.float32)), 4 * np.abs(eager - nearby))
        close = finite & (np.abs(found - nearby) <= limit + _TINY + allowed)
    yield from _examples("nan or not", ~same & (np.isnan(eager) != np.isnan(found)), eager, found)
    yield from _examples("infinite or not", ~same & ~finite & ~np.isnan(eager) & ~np.isnan(found), eager, found)
    yield from _examples("values", ~same & ~close & finite, eager, found)


def _examples(what: str, wrong: npt.NDArray[Any], eager: npt.NDArray[Any], found: npt.NDArray[Any]) -> Iterator[str]:
    if wrong.any():
        first = ", ".join(f"{eager[at]} became {found[at]}" for at in list(zip(*np.nonzero(wrong), strict=True))[:3])
        yield f"{what}: {int(wrong.sum())} of {wrong.size}: {first}"
