"""Leaving a module, and what belongs to the whole process, as they were: whatever runs the user's code does it in here.

A forward may write to buffers and attributes, draw random numbers, and change torch's settings; torch's own exporter
sets attributes of its own. What is published must not depend on how often the module has been run, and the user goes on
training it.
"""

import contextlib
import functools
import random
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.held_modules import (
    CONTAINERS,
    contents_of,
    entries_of,
    functions_of,
    held_objects,
    is_object,
    names_in,
    reachable,
)
from rnnserve.export.source_lines import is_users_class

__all__ = ["left_as_they_were", "one_thread", "restoring"]

_Restore = Callable[[], object]

_MOST_ENTRIES = 10_000
"""Entries of the lists, dicts and objects in a variable, from which on it holds data or parts of a program: it is left
as it is. A global configuration may lead to all that a program has."""


@contextlib.contextmanager
def left_as_they_were(module: nn.Module | None = None) -> Iterator[None]:
    """Restore the process's settings after the context and, where one is given, a module.

    Of the module: every attribute of every submodule, training flags and hooks among them; what lists, dicts and sets
    among the attributes hold; and of parameters, buffers and other tensors their values and whether they require a
    gradient. Likewise global variables that its functions name, attributes of its classes, and what variables around
    its functions and defaults of their parameters hold. Of the process: random numbers of torch, numpy and Python, and
    torch's settings.
    """
    restore = [*_process(), *restoring(module)]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for again in restore:
            again()


def restoring(module: nn.Module | None, *, values: bool = True) -> list[_Restore]:
    """List functions that make a module as it is now, the values of tensors included; none for what is no module."""
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return []
    functions = functions_of(module)
    spaces = list(_spaces(module, functions))
    outside = [value for _, names in spaces for value in names.values()]
    outside += [value for each in functions for value in (each.__defaults__, each.__kwdefaults__)]
    outside = list({id(value): value for value in outside}.values())
    held = list(reachable(module.named_modules()).values())
    held += [each for value in outside for each in reachable([("", value)], _MOST_ENTRIES).values()]
    containers = [each if isinstance(each, CONTAINERS) else vars(each) for each in held if not isinstance(each, tuple)]
    restore: list[_Restore] = [_refilling(each) for each in containers]
    restore += [functools.partial(_set_again, space, names) for space, names in spaces]
    if values:
        entries = [entry for each in held for _, entry in entries_of(each)] + outside
        tensors = {id(each): each for each in entries if isinstance(each, Tensor)}
        restore += [_rewriting(each) for each in tensors.values() if not (each.is_meta or each.is_sparse)]
    return restore


def _spaces(module: nn.Module, functions: Sequence[types.FunctionType]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """List variables outside of a module that its functions may set: of files, classes and functions around.

    A forward may keep something there as in attributes: `global MASK`, or a dict that all objects of a class have.
    """
    classes = {base for each in held_objects(module).values() for base in type(each).__mro__}
    for function in functions:
        known = function.__globals__
        named = {name: known[name] for name in names_in(function.__code__) & known.keys()}
        is_code = {name: callable(value) or isinstance(value, types.ModuleType) for name, value in named.items()}
        yield known, {name: value for name, value in named.items() if is_object(value) or not is_code[name]}
        for cell in function.__closure__ or ():
            yield cell, contents_of(cell)
        classes.update(base for value in named.values() if isinstance(value, type) for base in value.__mro__)
    for kind in filter(is_users_class, classes):
        yield kind, _class_variables(kind)


def _class_variables(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not (name.startswith("__") or callable(value) or hasattr(type(value), "__get__"))
    }


def _set_again(space: Any, before: Mapping[str, Any]) -> None:  # noqa: ANN401 - a dict, a class or a cell
    """Set variables that hold something else by now, and remove new ones of a class."""
    if isinstance(space, dict):
        now, write = space, space.__setitem__
    else:
        now = contents_of(space) if isinstance(space, types.CellType) else _class_variables(space)
        write = functools.partial(setattr, space)
        for name in now.keys() - before.keys():
            delattr(space, name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            write(name, value)


def _refilling(container: Any) -> _Restore:  # noqa: ANN401 - a dict, list, set or deque
    """Return what puts into a container what it holds now, if it holds something else by then."""
    before = _flat(container)
    by_keys = isinstance(container, dict)

    def refill() -> None:
        now = _flat(container)
        if len(now) == len(before) and all(one is other for one, other in zip(now, before, strict=True)):
            return
        container.clear()
        if by_keys:
            container.update(zip(before[::2], before[1::2], strict=True))
        elif isinstance(container, set):
            container.update(before)
        else:
            container.extend(before)

    return refill


def _flat(container: Any) -> list[Any]:  # noqa: ANN401 - a dict, list, set or deque
    """List what a container holds, of a dict each key and then its value."""
    return [each for item in container.items() for each in item] if isinstance(container, dict) else list(container)


def _rewriting(tensor: Tensor) -> _Restore:
    values, requires_grad = tensor.detach().clone(), tensor.requires_grad
    gradient = tensor.grad if tensor.is_leaf else None

    def rewrite() -> None:
        if tensor.is_leaf and tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
        if tensor.is_leaf and tensor.grad is not gradient:
            tensor.grad = gradient
        data = tensor.detach()
        if data.shape != values.shape or data.dtype != values.dtype:
            tensor.data = values
        elif not _same_bits(data, values):
            with torch.no_grad():
                data.copy_(values)

    return rewrite


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.layout is not torch.strided or other.layout is not torch.strided:
        one, other = one.to_dense(), other.to_dense()  # not all functions have kernels for all sparse layouts
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())


def _process() -> Iterator[_Restore]:
    settings: tuple[tuple[Any, Callable[[Any], object]], ...] = (
        (torch.get_rng_state(), torch.set_rng_state),
        (np.random.get_state(), np.random.set_state),  # noqa: NPY002 - its state is kept
        (random.getstate(), random.setstate),
        (torch.is_grad_enabled(), torch.set_grad_enabled),
        (torch.get_default_dtype(), torch.set_default_dtype),
        (torch.get_num_threads(), torch.set_num_threads),
        (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
        (torch.is_autocast_enabled("cpu"), functools.partial(torch.set_autocast_enabled, "cpu")),
        (torch.get_autocast_dtype("cpu"), functools.partial(torch.set_autocast_dtype, "cpu")),
        (float(torch.tensor(1e-39) * 1.0) == 0.0, torch.set_flush_denormal),  # torch has no question for that
    )
    for value, restore in settings:
        yield functools.partial(restore, value)
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    yield lambda: torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, and restore the number afterwards.

    With one thread the bits of a result do not depend on the machine's cores, and small operators do not wait for each
    other's threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
