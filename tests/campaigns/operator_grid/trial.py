"""Export the operators of a family, and compare them with eager."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn
from torch.utils import _pytree

from campaigns.operator_grid.empty import EmptyRuns
from campaigns.operator_grid.operators import KERNELS, Family, Operator
from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

_NOTHING = "of nothing"
_DYNAMIC = "batch"
_ULPS = 8  # onnxruntime's kernels are not correctly rounded, nor are eager's
_EAGERS = 4  # as in export's verification: of two rounded results, chance decides which one is nearer
_TINY = 1.2e-38  # float32's smallest normal number: kernels may flush smaller numbers to zero


class _Operators(nn.Module):
    """All operators of a family in one module. Each result is a separate tensor."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        self.operators = operators
        self.layers = nn.ModuleList(one.compute for one in operators if isinstance(one.compute, nn.Module))

    def forward(self, *inputs):
        return tuple(leaf.clone() for one in self.operators for leaf in _pytree.tree_leaves(one.compute(*inputs)))


def try_family(family: Family, *, sample: int = 3) -> dict[str, list[str]]:
    """Export all operators that must not be refused in one module, and compare each with eager.

    Args:
        family: The operators.
        sample: Number of rows or steps for the export. The comparison uses all.

    Returns:
        The differences by operator name; empty if an operator is right.
    """
    operators = [operator for operator in family.operators if not operator.refused]
    model, counts = _export(operators, family, sample)
    found = iter(
        OnnxRunner(model.SerializeToString())(
            {f"x{at}": tensor.numpy() for at, tensor in enumerate(family.inputs)}
        ).values()
    )
    doubles = [tensor.double() if tensor.dtype == torch.float32 else tensor for tensor in family.inputs]
    result = {}
    for operator in operators:
        eager = _leaves(operator, family.inputs)
        try:
            exact = _leaves(operator, doubles)
        except (RuntimeError, TypeError, ValueError):
            exact = eager
        terms = _terms(operator, doubles)
        lines, results = list[str](), [next(found) for _ in eager]
        for one, other, reference in zip(eager, results, exact, strict=True):
            lines += differences(one.numpy(), other, reference.numpy(), terms, KERNELS.get(operator.kernel, (0.0,))[0])
        result[operator.name] = lines
    if family.tries_nothing:
        for name, line in _of_nothing(family, operators, model, counts):
            result[name].append(f"{_NOTHING}: {line}")
    return result


def _of_nothing(
    family: Family, operators: Sequence[Operator], model: onnx.ModelProto, counts: Sequence[int]
) -> Iterator[tuple[str, str]]:
    """Compare with eager on empty tensors. If possible, all operators that eager computes run at once."""
    ends = list(itertools.accumulate(counts))
    names = [[f"y{at}" for at in range(end - count, end)] for end, count in zip(ends, counts, strict=True)]
    with EmptyRuns(family, model) as run:
        eager = [run.eager(lambda inputs, one=one: _leaves(one, inputs)) for one in operators]
        together = [name for some, of in zip(names, eager, strict=True) if of is not None for name in some]
        results = run(together)
        known = {} if isinstance(results, str) else dict(zip(together, results, strict=True))
        for operator, some, expected in zip(operators, names, eager, strict=True):
            found = [known[name] for name in some] if expected is not None and known else run(some)
            if isinstance(found, str):
                if expected is not None or "ended the process" in found:
                    yield operator.name, f"onnxruntime has an error: {found}"
            elif expected is None:
                yield operator.name, f"eager raises an error, onnxruntime gives {[array.shape for array in found]}"
            else:
                for one, other in zip(expected, found, strict=True):
                    yield from ((operator.name, line) for line in differences(one.numpy(), other, one.numpy()))


def _terms(operator: Operator, doubles: Sequence[torch.Tensor]) -> npt.NDArray[Any] | None:
    return None if operator.terms is None else operator.terms(*doubles).numpy()


def refusal_of(operator: Operator, family: Family) -> str:
    """Export one operator, and return the message of its refusal; empty if it isn't refused."""
    try:
        OnnxRunner(_export([operator], family, 3)[0].SerializeToString())
    except Exception as error:  # noqa: BLE001 - the test looks at the class, too
        return f"{type(error).__name__}: {error}"
    return ""


def _export(operators: Sequence[Operator], family: Family, sample: int) -> tuple[onnx.ModelProto, list[int]]:
    """Export operators as one module. Returns the graph, and the number of results of each."""
    counts = [len(_leaves(operator, family.inputs)) for operator in operators]
    program = export_onnx(
        _Operators(operators).eval(),
        tuple(tensor.narrow(family.axis, 0, min(sample, tensor.size(family.axis))) for tensor in family.inputs),
        input_names=[f"x{at}" for at in range(len(family.inputs))],
        output_names=[f"y{at}" for at in range(sum(counts))],
        dynamic_shapes=tuple({family.axis: _DYNAMIC} for _ in family.inputs),
        sizes={_DYNAMIC: (0 if family.tries_nothing else 1, None)},
    )
    return program.model_proto, counts


def _leaves(operator: Operator, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [leaf.detach().contiguous() for leaf in _pytree.tree_leaves(operator.compute(*inputs))]


def differences(
    eager: npt.NDArray[Any],
    found: npt.NDArray[Any],
    exact: npt.NDArray[Any],
    terms: npt.NDArray[Any] | None = None,
    allowed: float = 0.0,
) -> Iterator[str]:
    """Describe where onnxruntime's result is neither eager's nor nearer to float64's: kinds of values, with first
    examples.

    One rule for all operators: onnxruntime may be 4 times as far from the exact result as eager, plus 8 units in the
    last place of the result or of the terms that cancel in it.

    Args:
        eager: Eager's results in the module's type.
        found: onnxruntime's results.
        exact: Eager's results in float64.
        terms: Sums of the magnitudes of the terms, which broadcast with the result; None for the result itself.
        allowed: An additional distance, for a kernel in `KERNELS`.
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
        # If eager overflows float32 on the way and onnxruntime doesn't, float64 agrees with onnxruntime.
        same |= (exact.astype(found.dtype) == found) | (np.isnan(exact) & np.isnan(found))
        finite = np.isfinite(eager) & np.isfinite(found)
        nearby = np.where(np.isfinite(exact), exact, eager.astype(np.float64))
        of = np.abs(nearby) if terms is None else np.maximum(np.abs(nearby), np.nan_to_num(np.abs(terms)))
        last = np.minimum(of, np.finfo(found.dtype).max).astype(found.dtype)
        limit = _EAGERS * np.abs(eager - nearby) + _ULPS * np.spacing(last).astype(np.float64)
        close = finite & (np.abs(found - nearby) <= limit + _TINY + allowed)
    yield from _examples("nan or not", ~same & (np.isnan(eager) != np.isnan(found)), eager, found)
    yield from _examples("infinite or not", ~same & ~finite & ~np.isnan(eager) & ~np.isnan(found), eager, found)
    yield from _examples("values", ~same & ~close & finite, eager, found)


def _examples(what: str, wrong: npt.NDArray[Any], eager: npt.NDArray[Any], found: npt.NDArray[Any]) -> Iterator[str]:
    if wrong.any():
        eager, found = np.atleast_1d(eager, found)
        first = ", ".join(
            f"{eager[at]} became {found[at]}" for at in list(zip(*np.nonzero(np.atleast_1d(wrong)), strict=True))[:3]
        )
        yield f"{what}: {int(wrong.sum())} of {wrong.size}: {first}"
