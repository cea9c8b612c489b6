"""Refusing modules that carry state: whether a call reads what the call before it wrote to an attribute.

An ONNX model keeps no state between runs, so a module that carries its hidden state in an attribute would be right in
its first call only. A module that only stores values for others to read (attention weights, for example) is exported;
so is one whose call ends with the state that it began with, whatever it computes: `self.state = torch.zeros(…)`.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rnnserve.export.held_modules import owner_of
from rnnserve.export.outer_variables import MISSING, held_values
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.fake_tensors import fake_arguments
from rnnserve.export.recurrence.refusals import counts_calls, keeps_state
from rnnserve.export.surroundings import left_as_they_were

__all__ = ["refuse_carried_state"]


class _ReadRecorder(TorchFunctionMode):
    """Records which of the given tensors are used; `written` is `id` of a tensor -> the attribute that holds it."""

    def __init__(self, written: dict[int, str]) -> None:
        super().__init__()
        self.written = written
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` and record what it reads."""
        del types
        for leaf in torch.utils._pytree.tree_leaves((args, kwargs)):  # noqa: SLF001
            if isinstance(leaf, Tensor) and id(leaf) in self.written:
                self.read.add(self.written[id(leaf)])
        return func(*args, **(kwargs or {}))


class _DependenceRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Records which values depend on some tensors, by their storages: what is written to a part is in the whole.

    Args:
        sources: The tensors.
    """

    def __init__(self, sources: Iterable[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Storages are kept, so that no new one has the address of one of these.
        self._kept = {_address(each): each.untyped_storage() for each in sources if isinstance(each, Tensor)}

    def depends(self, value: Any) -> bool:  # noqa: ANN401 - whatever an attribute holds
        """Whether a value may depend on one of the tensors."""
        return not isinstance(value, Tensor) or _address(value) in self._kept

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Argument,
        args: Arguments = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Argument:
        """Run an operator, and note what it gives and writes to."""
        del types
        result = func(*args, **(kwargs or {}))
        given = torch.utils._pytree.tree_leaves((args, kwargs))  # noqa: SLF001
        if any(isinstance(each, Tensor) and self.depends(each) for each in given) and not _is_filling(func):
            written = [value for value, each in zip(args, func._schema.arguments, strict=False) if _is_written(each)]  # noqa: SLF001
            for leaf in torch.utils._pytree.tree_leaves((result, written)):  # noqa: SLF001
                if isinstance(leaf, Tensor):
                    self._kept[_address(leaf)] = leaf.untyped_storage()
        return result


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _is_filling(func: torch._ops.OpOverload) -> bool:
    """Whether an operator takes of a tensor its shape and type only."""
    name = func.overloadpacket.__name__
    return name in (
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
    )


def _is_written(argument: Any) -> bool:  # noqa: ANN401 - an argument in a schema of torch
    return argument.alias_info is not None and argument.alias_info.is_write


def refuse_carried_state(module: nn.Module, args: Arguments) -> None:
    """Call the module on tensors without values and, if it writes to its attributes, call it again.

    Raises:
        UnsupportedModule: If the second call reads what the first has written.
    """
    read: set[str] = set()
    sets_buffers = True
    # An error here says nothing of carried state: the module is called without values, and the capture, with symbols
    # in place of values, has succeeded.
    with contextlib.suppress(Exception), fake_arguments(module, args) as fakes:
        before, buffers = held_values(module), dict(module.named_buffers())
        module(*fakes)
        sets_buffers = any(buffer is not buffers.get(name) for name, buffer in module.named_buffers())
        after = held_values(module)  # kept for the second call, so that no new tensor has the `id` of one of these
        written = {
            id(leaf): name
            for name, leaves in after.items()
            for leaf in leaves
            if isinstance(leaf, Tensor) and all(leaf is not old for old in before.get(name, ()))
        }
        if written:
            # Other arguments than those of the first call, which it may have noted down.
            again = torch.utils._pytree.tree_map_only(Tensor, torch.clone, fakes)  # noqa: SLF001
            with _ReadRecorder(written) as reads:
                module(*again)
            read = reads.read
    if read:
        read -= _put_back(module, args)
    if sets_buffers:
        read |= _read_buffers(module, args)
    read |= _written_in_place(module, args)
    if read:
        raise keeps_state(read)
    counted = _counted(module, args)
    if counted:
        raise counts_calls(counted)


def _read_buffers(module: nn.Module, args: Arguments) -> set[str]:
    """Name the buffers that a call sets and on whose values a result of the next call depends.

    The captured program tells it of those that are written to in place, or are as they were before the first call; a
    call may make them anew for its number of rows, and the next one go on from there.
    """
    with contextlib.suppress(Exception), fake_arguments(module, args) as fakes:
        before = dict(module.named_buffers())
        module(*fakes)
        now = dict(module.named_buffers())
        return {
            name
            for name, buffer in now.items()
            if buffer is not before.get(name) and _depends_on(buffer, module, fakes, now)
        }
    return set()


def _written_in_place(module: nn.Module, args: Arguments) -> set[str]:
    """Name the tensors, beside buffers, that a call writes to in place, and on whose values a result depends."""
    with contextlib.suppress(Exception), left_as_they_were(module):
        with prepared(module):
            held = {
                name: [(leaf, leaf._version) for leaf in leaves if isinstance(leaf, Tensor)]  # noqa: SLF001
                for name, leaves in held_values(module).items()
            }
            module(*args)
        written = {
            name: [leaf for leaf, version in leaves if leaf._version != version]  # noqa: SLF001 - there is no public way
            for name, leaves in held.items()
        }
        with fake_arguments(module, args) as fakes:
            return {name for name, leaves in written.items() if leaves and _is_read(leaves, module, fakes)}
    return set()


def _is_read(tensors: Iterable[Any], module: nn.Module, args: Arguments) -> bool:
    """Whether a result of a call depends on some tensors."""
    with _DependenceRecorder(tensors) as recorder:
        results = torch.utils._pytree.tree_leaves(module(*args))  # noqa: SLF001
        return any(isinstance(each, Tensor) and recorder.depends(each) for each in results)


def _depends_on(buffer: Tensor, module: nn.Module, args: Arguments, buffers: Mapping[str, Tensor]) -> bool:
    """Whether a result of a call depends on a buffer; the module's buffers are put back first."""
    for name, value in buffers.items():
        owner_of(module, name)._buffers[name.rpartition(".")[2]] = value  # noqa: SLF001
    return _is_read([buffer], module, args)


def _counted(module: nn.Module, args: Arguments) -> set[str]:
    """Name the attributes that a call changes, where the same call gives other results after it: numbers of calls."""
    with contextlib.suppress(Exception), prepared(module):
        results, held = [], [held_values(module)]
        for _ in range(2):
            results.append(torch.utils._pytree.tree_leaves(module(*args)))  # noqa: SLF001
            held.append(held_values(module))
        if not all(map(_same, *results)):
            first, last = held[0], held[-1]
            return {name for name, leaves in last.items() if not _hold_the_same(first.get(name, []), leaves)}
    return set()


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - a result
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
    return bool(torch.equal(one.nan_to_num(), other.nan_to_num())) if tensors else one is other


def _hold_the_same(some: list[Any], others: list[Any]) -> bool:
    """Whether two attributes hold the same objects, or equal numbers."""
    return len(some) == len(others) and all(
        one is other or (isinstance(one, int | float) and one == other) for one, other in zip(some, others, strict=True)
    )


def _put_back(module: nn.Module, args: Arguments) -> set[str]:
    """Name the attributes that depend on no argument and no state, and hold after a call what they held before."""
    with contextlib.suppress(Exception):
        with fake_arguments(module, args) as fakes:
            parameters = {id(each) for each in module.parameters()}
            states = [leaf for each in held_values(module).values() for leaf in each if id(leaf) not in parameters]
            sources = [*torch.utils._pytree.tree_leaves(fakes), *states, *module.buffers()]  # noqa: SLF001
            with _DependenceRecorder(sources) as recorder:
                module(*fakes)
            names = {name for name, each in held_values(module).items() if not any(map(recorder.depends, each))}
        with prepared(module):
            before = held_values(module)
            first = torch.utils._pytree.tree_leaves(module(*args))  # noqa: SLF001
            after = held_values(module)
            second = torch.utils._pytree.tree_leaves(module(*args))  # noqa: SLF001
            if all(map(_same, first, second)):  # a table that the first call makes is that of all calls
                before |= {name: after[name] for name in names if not any(map(_is_set, before.get(name, [])))}
                after = held_values(module)
            return {name for name in names if _are_equal(before.get(name, []), after.get(name, []))}
    return set()


def _is_set(value: object) -> bool:
    return value is not None and value is not MISSING


def _are_equal(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(
        isinstance(one, Tensor) and isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        for one, other in zip(some, others, strict=True)
    )
