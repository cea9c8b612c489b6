"""Refusing modules that carry state from call to call: an earlier call changes a later result.

An ONNX model keeps no state between inference calls, so a module that stores its hidden state in an attribute would be
correct only in its first call. A module that only stores values for others to read (attention weights, for example) is
exported. So is a module whose calls leave the state as it was before: `self.state = torch.zeros(…)`.
"""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.refusals import counts_calls, keeps_state
from rnnserve.export.source_lines import first_line
from rnnserve.export.surroundings import held_values, left_as_they_were, owner_of, users_module
from rnnserve.export.torch_adapter import tree_leaves, tree_map_only, version_of

__all__ = ["refuse_carried_state"]

_CALLS_BEFORE = 22  # the next one is the 23rd, a prime number: results may alternate
_MANY_CALLS = 10_000  # the value of counters in a call as if after many calls, which would take too long
_OTHER_SEEDS = range(1, 9)


def refuse_carried_state(module: nn.Module, args: Arguments) -> None:
    """Call the module alone and after calls with other values, and refuse it if the results differ.

    Also refuses a module whose results depend on random numbers of Python or NumPy, which the capture makes constants.
    """
    given, other = _drawn(args, 1), _drawn(args, 2)
    try:
        for each in (given, other):
            _called_alone(module, each)
    except Exception:  # noqa: BLE001 - the module may raise anything for unexpected values
        given = other = args
    try:
        alone = _called_alone(module, given)
    except Exception as error:
        raise UnsupportedModule(
            f"the module raises {type(error).__name__} for its sample, so the export cannot check whether it keeps a "
            f"state between calls: {first_line(str(error))}. Give a sample that the module accepts."
        ) from error
    with left_as_they_were(module):
        held_before = held_values(users_module(module))  # kept alive so that no `id` is reused
        keys = {name: _keys(leaves) for name, leaves in held_before.items()}
        for _ in range(_CALLS_BEFORE):
            _called(module, other)
        held = held_values(users_module(module))
        changed = [name for name, leaves in held.items() if _keys(leaves) != keys.get(name, [])]
        reads = _Reads({id(leaf): name for name in changed for leaf in held[name] if isinstance(leaf, Tensor)})
        try:
            with reads:
                after = _called(module, given)
        except Exception as error:
            raise keeps_state(reads.read or changed) from error
        has_drawn = _has_drawn()
        later = after
        if counters := [name for name in changed if _is_counter(held[name])]:
            _count_on(users_module(module), counters)
            with contextlib.suppress(Exception):  # a counter may be an index
                later = _called(module, given)
    if not (len(alone) == len(after) and all(map(_same, alone, after))):
        if reads.read:
            raise keeps_state(reads.read)
        # Attention kernels round differently depending on memory alignment.
        if changed or not _are_alike(alone, after):
            raise counts_calls(changed)
    if not _are_alike(after, later):
        raise counts_calls(counters)
    if has_drawn and not all(_are_alike(alone, _called_alone(module, given, seed)) for seed in _OTHER_SEEDS):
        raise UnsupportedModule(
            "the module's results depend on random numbers of Python's random or numpy.random, and an exported "
            "program would repeat those of the export. Make them an input of forward, or use them only if "
            "self.training is set."
        )


def _drawn(args: Arguments, seed: int) -> Arguments:
    generator = torch.Generator().manual_seed(seed)

    def draw(each: Tensor) -> Tensor:
        return torch.randn(each.shape, generator=generator).to(each.dtype) if each.is_floating_point() else each

    drawn: Arguments = tree_map_only(Tensor, draw, args)
    return drawn


def _called_alone(module: nn.Module, args: Arguments, seed: int = 0) -> list[Any]:
    with left_as_they_were(module):
        return _called(module, args, seed)


def _called(module: nn.Module, args: Arguments, seed: int = 0) -> list[Any]:
    """Call the module. `seed` is for the generators of Python and NumPy; torch's always begins at 0."""
    torch.manual_seed(0)
    np.random.seed(seed)  # noqa: NPY002 - the generator that a module may use
    random.seed(seed)
    copied = tree_map_only(Tensor, torch.clone, args)
    with torch.no_grad():
        results = tree_leaves(module(*copied))
        return [each.clone() if isinstance(each, Tensor) else each for each in results]  # a later call may write them


def _is_counter(leaves: list[Any]) -> bool:
    if len(leaves) != 1 or not isinstance(leaves[0], Tensor):
        return [type(each) for each in leaves] == [int]
    return leaves[0].numel() == 1 and leaves[0].dtype in (torch.int32, torch.int64)


def _count_on(module: nn.Module, counters: list[str]) -> None:
    """Set the module's counters to a large number."""
    for path in counters:
        owner, name = owner_of(module, path), path.rpartition(".")[2]
        before = getattr(owner, name)
        setattr(owner, name, torch.full_like(before, _MANY_CALLS) if isinstance(before, Tensor) else _MANY_CALLS)


def _has_drawn() -> bool:
    """Whether the generators of Python and NumPy have moved on since `_called` seeded them with 0."""
    return random.random() != random.Random(0).random() or np.random.random() != np.random.RandomState(0).random()  # noqa: NPY002, S311


def _keys(leaves: list[Any]) -> list[Any]:
    """Return keys that change if an attribute holds another object, or if one of its tensors is written to."""
    versions = [version_of(leaf) if isinstance(leaf, Tensor) else 0 for leaf in leaves]
    plain = [leaf if isinstance(leaf, int | float | str) else id(leaf) for leaf in leaves]
    return [*zip(plain, versions, strict=True)]


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - a result
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    return type(one) is type(other) and (one is other or not isinstance(one, int | float | str) or one == other)


def _are_alike(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(map(_differs_by_rounding, some, others))


def _differs_by_rounding(one: Any, other: Any) -> bool:  # noqa: ANN401 - a result
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or not one.is_floating_point():
        return _same(one, other)
    return one.dtype == other.dtype and torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


class _Reads(TorchFunctionMode):
    """Records which of the given tensors are used. `written` maps a tensor's `id` to the attribute that holds it."""

    def __init__(self, written: dict[int, str]) -> None:
        super().__init__()
        self.written = written
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` and record the given tensors among its arguments."""
        del types
        self.read |= {self.written[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.written}
        return func(*args, **(kwargs or {}))
