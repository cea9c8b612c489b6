"""Computing one element of a rolled program, where numbers may be tensors: those of a step, or of a dynamic size."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.roll.items import LITERAL, Form, decoded
from rnnserve.export.recurrence.roll.sweeping import JOINING, REPEATED, SEGMENT
from rnnserve.export.recurrence.scan_markers import BEGIN, MARKER

__all__ = ["computed", "steps_of", "written"]

_ATEN = torch.ops.aten


def computed(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Any:  # noqa: ANN401 - as of torch
    """Compute an element from what it refers to and from its numbers."""
    if target == LITERAL:
        dtype, shape = form
        return _literal(dtype, shape, numbers)
    if target in JOINING and not {SEGMENT, REPEATED}.isdisjoint(form[1][1]):
        return _joined(target, form, references, numbers)
    rest, rest_numbers = iter(references), iter(numbers)
    args, kwargs = (decoded(each, rest, rest_numbers) for each in form[1:])
    if target is MARKER:
        kwargs["attr_ints"] = [_number_of_scan(args[1], kwargs["attr_ints"][0]), *kwargs["attr_ints"][1:]]
    if any(isinstance(each, Tensor) for each in numbers):
        return _with_tensors(target, args, kwargs)
    return _FUNCTIONS.get(target, target)(*args, **kwargs)


_FUNCTIONS = {_ATEN.one_hot.default: torch.nn.functional.one_hot, _ATEN.linspace.default: torch.linspace}
"""By operators that take a size as a plain number, the functions that a capture has stand-ins for."""

_open_scans: list[int] = []


def _number_of_scan(marker: str, known: int | None) -> int:
    """Give a number of its own to each scan that the module calls itself; one ends before that around it."""
    if known is not None:  # without a beginning
        return next(capture_session.current().scans)
    if marker == BEGIN:
        _open_scans.append(next(capture_session.current().scans))
        return _open_scans[-1]
    return _open_scans.pop()


def _literal(dtype: torch.dtype, shape: tuple[int, ...], numbers: list[Any]) -> Tensor:
    if not any(isinstance(each, Tensor | torch.SymInt) for each in numbers):
        return torch.tensor(numbers, dtype=dtype).reshape(shape)
    each_alone = [
        each if isinstance(each, Tensor) else torch.full((), each, dtype=torch.int64 if _is_whole(each) else dtype)
        for each in numbers
    ]
    return torch.stack([each.to(dtype) for each in each_alone]).reshape(shape)


def _is_whole(number: Any) -> bool:  # noqa: ANN401 - a number or a symbol
    return isinstance(number, int | torch.SymInt)


def _with_tensors(target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as of torch
    """Call an operator that takes numbers with tensors; of a slice, the end is its length."""
    if target is _ATEN.select.int:
        source, dim, index = args
        index = index.clamp(max=source.shape[dim] - 1)  # a step after the last is left out
        return source.index_select(dim, index.reshape(1)).squeeze(dim)
    if target is _ATEN.select_scatter.default:
        source, value, dim, index = args
        shape = [-1 if axis == dim else 1 for axis in range(source.dim())]
        is_there = (torch.arange(source.shape[dim]) == index).reshape(shape)
        return torch.where(is_there, value.unsqueeze(dim), source)
    if target is _ATEN.slice.Tensor:  # of the same length in each step
        source, dim, start, length, _ = args
        return source.index_select(dim, start.clamp(max=source.shape[dim] - length) + torch.arange(length))
    if target is _ATEN.full.default:
        return args[1].to(kwargs.get("dtype", args[1].dtype)).expand(args[0])
    if isinstance(kwargs.get("alpha"), Tensor):  # of add and sub
        args[1] = args[1] * kwargs.pop("alpha")
    return target.overloadpacket(*args, **kwargs)


def _joined(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Tensor:  # noqa: ANN401 - as of torch
    """Compute a `cat` or a `stack` that has segments among its parts."""
    rest, rest_numbers = iter(references), iter(numbers)
    parts = list(_parts(form[1][1], rest, rest_numbers))
    rank = parts[0][1].dim() - parts[0][0]
    stacks = target is _ATEN.stack.default
    dim = next(rest_numbers, 0) % (rank + stacks)
    out = []
    for has_steps, value in parts:
        if has_steps:
            value = moved(value, 0, dim)
            out.append(value if stacks else value.flatten(dim, dim + 1))
        else:
            out.append(value.unsqueeze(dim) if stacks else value)
    return torch.cat(out, dim) if len(out) > 1 else out[0]


def _parts(forms: Form, references: Iterator[Any], numbers: Iterator[Any]) -> Iterator[tuple[bool, Tensor]]:
    """Give the parts of a `cat` or a `stack`, each with whether it has an axis of steps in front."""
    for form in forms[1:]:
        value = next(references)
        if form == REPEATED:
            yield True, value.expand(next(numbers), *value.shape)
        elif form == SEGMENT:
            first, distance, count = (next(numbers) for _ in range(3))
            if not isinstance(count, int) or count > 0:
                yield True, steps_of(value, first, distance, count)
        else:
            yield False, value


def steps_of(stacked: Tensor, first: Any, distance: Any, count: Any) -> Tensor:  # noqa: ANN401 - numbers or symbols
    """Give some steps along axis 0: so many, from one on, at a distance."""
    if isinstance(distance, int) and distance == 1:
        is_whole = isinstance(first, int) and first == 0 and _is_same(count, stacked.shape[0])
        return stacked if is_whole else stacked.narrow(0, first, count)
    if isinstance(distance, int) and distance == -1:
        return steps_of(stacked, first - count + 1, 1, count).flip(0)
    return stacked.index_select(0, first + distance * torch.arange(count))


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - numbers or symbols
    """Whether two sizes are the same expression; no condition on symbols comes of it."""
    return str(one) == str(other)


def written(source: Tensor, values: Tensor, dim: Any, first: Any, distance: Any, count: Any) -> Tensor:  # noqa: ANN401
    """Write steps to some places along an axis of a tensor: so many, from one on, at a distance."""
    if distance == -1:
        return written(source, values.flip(0), dim, first - count + 1, 1, count)
    whole = source.shape[dim]
    if distance == 1 and isinstance(first, int) and first == 0 and _is_same(whole, count):
        return moved(values, 0, dim)
    source = moved(source, dim, 0)
    values = values.to(source.dtype)
    if distance == 1:
        parts = [source.narrow(0, 0, first), values, source.narrow(0, first + count, whole - first - count)]
        return moved(torch.cat(parts), 0, dim)
    return moved(source.index_put((first + distance * torch.arange(count),), values), 0, dim)


def moved(tensor: Tensor, axis: int, to: int) -> Tensor:
    """Move an axis, as `movedim` does, by an operator that torch.onnx translates as it is."""
    order = list(range(tensor.dim()))
    order.insert(to % tensor.dim(), order.pop(axis))
    return tensor if order == sorted(order) else tensor.permute(order)
