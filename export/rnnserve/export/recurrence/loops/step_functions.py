"""Functions of torch on steps: taking a sequence apart, putting a list together, indexing by the number of a step."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_list import StepList, joined
from rnnserve.export.recurrence.loops.step_number import OnTensors, StepNumber, as_tensors
from rnnserve.export.recurrence.loops.step_pass import AssignedStep, StepPass, as_written, passes, reads, written_by
from rnnserve.export.recurrence.loops.steps import Steps, TensorSteps, step_of
from rnnserve.export.recurrence.loops.symbolic_sizes import is_symbol, same_size

__all__ = ["StepFunctionMode"]


class StepFunctionMode(TorchFunctionMode):
    """Computes such functions in this thread, and tells the runs of loops' bodies what is made, read and written."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, or what computes the same of steps."""
        del types
        kwargs = kwargs or {}
        found = _of_steps(func, args, kwargs)
        if found is not None:
            for each in passes.stack:
                each.made(found if isinstance(found, Tensor) else [])
            return found
        if func is Tensor.__setitem__ and passes.stack and _assigned(passes.stack[-1], *args):
            return None
        if func is Tensor.__setitem__ and _step_indices(args[1]):
            func, args = _write_at_step, args
        elif any(isinstance(leaf, OnTensors) for leaf in _leaves((args, kwargs))):
            args, kwargs = as_tensors((args, kwargs))
        if not passes.stack:
            return func(*args, **kwargs)
        tensors = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = args[0] if func is _write_at_step else written_by(func, args, kwargs)
        inner = passes.stack[-1]
        if written is not None and inner.writes_outside(written):
            inner.write(written)
            return written if func not in (Tensor.__setitem__, _write_at_step) else None
        if reads(func):
            inner.read(tensors)
        result = func(*args, **kwargs)
        for each in passes.stack:
            each.made_anew(result, tensors)
        return result


def _leaves(values: Argument) -> list[Any]:
    return torch.utils._pytree.tree_leaves(values)  # noqa: SLF001


def _of_steps(func: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]) -> Argument:
    """Give the result of a function that takes steps apart or puts them together; None where `func` is none."""
    name = getattr(func, "__name__", "")
    if func is Tensor.__getitem__ and _step_indices(args[1]):
        return _item(args[0], args[1])
    if func in (torch.tensor, torch.as_tensor) and args and _has_numbers_of_steps(args[0]):
        return _made(*args, **kwargs)
    if func in _TAKING_APART:
        return _TAKING_APART[func](*args, **kwargs)
    if name in _TOGETHER and args and _is_list_of_steps(args[0]):
        if isinstance(args[0], StepList):
            args[0].changes.read_whole()
        return _TOGETHER[name](list(list.__iter__(args[0])), *args[1:], **kwargs)
    return None


def _has_numbers_of_steps(data: Argument) -> bool:
    if isinstance(data, list | tuple):
        return any(map(_has_numbers_of_steps, list.__iter__(data) if isinstance(data, list) else data))
    return isinstance(data, OnTensors)


def _made(data: Argument, dtype: torch.dtype | None = None, device: Argument = None, **more: Argument) -> Tensor:
    """Do what `torch.tensor` does with numbers, or lists of numbers, among which are those of steps."""
    del more  # requires_grad and pin_memory, which change no value
    if isinstance(data, list | tuple):
        items = [_made(each, dtype) for each in (list.__iter__(data) if isinstance(data, list) else data)]
        common = functools.reduce(torch.promote_types, [each.dtype for each in items])
        made = torch.stack([each.to(common) for each in items])
    elif isinstance(data, StepNumber):
        made = data.of_type(dtype)
    else:
        made = data.tensor() if isinstance(data, OnTensors) else torch.as_tensor(data, dtype=dtype)
    return made.to(device=device, dtype=dtype or made.dtype)


def _is_list_of_steps(value: Argument) -> bool:
    return (
        isinstance(value, list | tuple)
        and any(isinstance(item, Steps) for item in (list.__iter__(value) if isinstance(value, list) else value))
    ) or isinstance(value, Steps)


def _step_indices(key: Argument) -> list[int]:
    """Give the places of an index at which there is the number of a step."""
    parts = key if isinstance(key, tuple) else (key,)
    return [at for at, part in enumerate(parts) if isinstance(part, StepIndex) or _one_step(part) is not None]


def _one_step(part: Argument) -> StepIndex | None:
    """Give the number of a step of which `t:t+1` is a slice of one."""
    if not isinstance(part, slice):
        return None
    start, stop = part.start, part.stop
    if isinstance(start, StepIndex) and isinstance(stop, StepIndex) and part.step in (None, 1):
        length = stop - start if stop.loop is start.loop else None
        if isinstance(length, int) and length == 1:
            return start
    for owner in (start, stop, part.step):
        if not isinstance(owner, StepIndex):
            continue
        owner.loop.refuse(
            "a slice has the number of the step as a bound, such as x[:, :t]: it has another size in each step. Use "
            "the whole, and choose with torch.where(torch.arange(x.size(1)) < t, x, zeros)."
        )
    return None


def _axis_of(key: tuple[Any, ...], at: int, rank: int) -> int | None:
    """Give the axis of a tensor that a part of an index is for; None where tensors among the parts forbid to tell."""
    if any(isinstance(part, Tensor | list) or part is True or part is False for part in key):
        return None
    before = [part for part in key[:at] if part is not None]
    if Ellipsis in [part for part in before if part is Ellipsis]:
        after = [part for part in key[at:] if part is not None]
        return rank - len(after)
    return len(before)


def _item(tensor: Tensor, key: Argument) -> Argument:
    """Index a tensor by the number of a step, and by whatever else."""
    parts = list(key) if isinstance(key, tuple) else [key]
    at = _step_indices(key)[0]
    index = parts[at]
    axis = _axis_of(tuple(parts), at, tensor.dim())
    if isinstance(index, StepIndex):
        if axis is None:
            return tensor[tuple(as_tensors(parts))]
        step = step_of(tensor, axis, index)
        # The axis is gone; ints before it take theirs when the rest of the index is applied.
        rest = [*parts[:at], *parts[at + 1 :]]
    else:
        one = _one_step(index)
        assert one is not None  # noqa: S101 - as `_step_indices` has found
        if axis is None:
            one.loop.refuse("a tensor is indexed by other tensors, and by a slice of one step")
        step = step_of(tensor, axis, one).unsqueeze(axis)
        rest = [*parts[:at], slice(None), *parts[at + 1 :]]
    if all((isinstance(part, slice) and part == slice(None)) or part is Ellipsis for part in rest):
        return step
    return step[tuple(rest)]


def _assigned(inner: StepPass, tensor: Tensor, key: Argument, value: Argument) -> bool:
    """Note `out[:, t] = y`, where `out` is not made in the step; False where it is something else."""
    parts = key if isinstance(key, tuple) else (key,)
    found = _step_indices(key)
    if len(found) != 1 or not inner.writes_outside(tensor):
        return False
    (at,) = found
    index, axis = parts[at], _axis_of(parts, at, tensor.dim())
    others = [part for number, part in enumerate(parts) if number != at]
    plain = all(part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in others)
    one = index if isinstance(index, StepIndex) else _one_step(index)
    if id(tensor) in inner.whole or axis is None or not plain or one is None or one.loop is not inner.loop:
        return False
    if not inner.is_outside(tensor):
        return False
    value = as_tensors(value)
    if isinstance(value, Tensor) and not isinstance(index, StepIndex):
        value = value.squeeze(axis - tensor.dim()) if value.dim() >= tensor.dim() - axis else value
    inner.assign(AssignedStep(tensor, axis, one, value))
    return True


def _write_at_step(tensor: Tensor, key: Argument, value: Argument) -> None:
    """Write to a tensor at the number of a step, which is a tensor by now."""
    parts = list(key) if isinstance(key, tuple) else [key]
    (at, *more) = _step_indices(key)
    index = parts[at] if isinstance(parts[at], StepIndex) else _one_step(parts[at])
    assert index is not None  # noqa: S101 - as `_step_indices` has found
    if more or _axis_of(tuple(parts), at, tensor.dim()) is None:
        index.loop.refuse("a tensor is written to at the number of the step, and at other tensors of numbers")
    parts[at] = slice(None)
    view = tensor[tuple(parts)]
    after = [part for part in parts[at + 1 :] if not isinstance(part, int)]
    before = [part for part in parts[:at] if not isinstance(part, int)]
    axis = view.dim() - 1 - len(after) if Ellipsis in [part for part in before if part is Ellipsis] else len(before)
    whole = view.narrow(axis, 0, 1)
    given = as_tensors(value)
    if isinstance(key[at] if isinstance(key, tuple) else key, StepIndex):
        given = as_written(given, whole.squeeze(axis)).unsqueeze(axis)
    view.index_copy_(axis, index.tensor().reshape(1), as_written(given, whole))


def _unbind(input: Tensor, dim: int = 0) -> Argument:
    return TensorSteps([input], dim % input.dim()) if is_symbol(input.shape[dim]) else None


def _narrow(input: Tensor, dim: int, start: Argument, length: int) -> Argument:
    if not isinstance(start, StepIndex) or length != 1:
        return None
    return step_of(input, dim % input.dim(), start).unsqueeze(dim)


def _split(tensor: Tensor, split_size_or_sections: Argument = None, dim: int = 0, **named: Argument) -> Argument:
    size = named.get("split_size", split_size_or_sections)
    return TensorSteps([tensor], dim % tensor.dim(), kept=True) if size == 1 and is_symbol(tensor.shape[dim]) else None


def _chunk(input: Tensor, chunks: Argument, dim: int = 0) -> Argument:
    one_each = is_symbol(chunks) and same_size(chunks, input.shape[dim])
    return TensorSteps([input], dim % input.dim(), kept=True) if one_each else None


_TAKING_APART: dict[Any, Callable[..., Any]] = {
    torch.narrow: _narrow, Tensor.narrow: _narrow,
    torch.unbind: _unbind, Tensor.unbind: _unbind,
    torch.split: _split, Tensor.split: _split,
    torch.chunk: _chunk, Tensor.chunk: _chunk, torch.tensor_split: _chunk, Tensor.tensor_split: _chunk,
}  # fmt: skip


def _together(items: list[Any]) -> Tensor:
    whole = joined(items)
    if not isinstance(whole, Tensor):
        raise UnsupportedModule("a list of tuples is stacked, which a loop over steps has filled")
    return whole


def _stack(tensors: list[Any], dim: int = 0) -> Tensor:
    whole = _together(tensors)
    return whole.movedim(0, dim)


def _cat(tensors: list[Any], dim: int = 0, **named: Argument) -> Tensor:
    whole = _together(tensors)  # (steps, ...), and an item has the axis dim
    dim = named.get("axis", dim) % (whole.dim() - 1)
    moved = whole.movedim(0, dim)
    if not is_symbol(moved.shape[dim + 1]) and moved.shape[dim + 1] == 1:
        return moved.squeeze(dim + 1)
    return moved.flatten(dim, dim + 1)


_TOGETHER: dict[str, Callable[..., Any]] = {
    "stack": _stack,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "vstack": lambda tensors: _vertical(_together(tensors)),
    "hstack": lambda tensors: _cat(tensors, 0 if _together(tensors).dim() <= 2 else 1),
    "dstack": lambda tensors: _stack(tensors, 2),
}
"""Functions that put a list of tensors together, by name: `torch.cat` and its other names."""


def _vertical(whole: Tensor) -> Tensor:
    """(steps, n) as they are; (steps, rows, …) one after the other."""
    return whole if whole.dim() <= 2 else whole.flatten(0, 1)


def list_of(value: Argument) -> StepList:
    """Make a list of steps or items."""
    return StepList([value] if isinstance(value, Steps) else list.__iter__(value) if isinstance(value, list) else value)
