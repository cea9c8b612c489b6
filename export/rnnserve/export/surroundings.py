"""Leaving a module, and what belongs to the whole process, as they were: whatever runs the user's code does it in here.

A forward may write to buffers and attributes, draw random numbers, and change torch's settings; torch's own exporter
sets attributes of its own. What is published must not depend on how often the module has been run, and the user goes on
training it.
"""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.held_modules import containers_in, held_modules, refilling
from rnnserve.export.outer_variables import containers_of_outer, outer_variables, putting_back

__all__ = ["left_as_they_were", "restoring"]


@contextlib.contextmanager
def left_as_they_were(module: nn.Module | None = None) -> Iterator[None]:
    """Restore the process's settings after the context and, where one is given, a module.

    Of the module: every attribute of every submodule, training flags and hooks among them; what lists, dicts and sets
    among the attributes hold; and of parameters, buffers and other tensors their values and whether they require a
    gradient. Likewise the variables outside of it that its functions may change. Of the process: random numbers of
    torch, numpy and Python, and torch's settings.

    Args:
        module: Anything; what is no module is left to those who refuse it.
    """
    restore = [*_process(), *restoring(module)]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for again in restore:
            again()


def restoring(module: nn.Module | None) -> list[Callable[[], object]]:
    """Give what makes a module as it is now; nothing for what is no module.

    Args:
        module: Module, as for `left_as_they_were`.
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return []
    return list(_module(module))


def _process() -> Iterator[Callable[[], object]]:
    generator, numbers, python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - its state is kept
    yield lambda: torch.set_rng_state(generator)
    yield lambda: np.random.set_state(numbers)  # noqa: NPY002
    yield lambda: random.setstate(python)
    gradients, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    yield lambda: torch.set_grad_enabled(gradients)
    yield lambda: torch.set_default_dtype(dtype)
    yield lambda: torch.set_num_threads(threads)
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    yield lambda: torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)
    precision = torch.get_float32_matmul_precision()
    yield lambda: torch.set_float32_matmul_precision(precision)
    autocast, autocast_dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    yield lambda: torch.set_autocast_enabled("cpu", autocast)
    yield lambda: torch.set_autocast_dtype("cpu", autocast_dtype)
    denormal = _flushes_denormals()
    yield lambda: torch.set_flush_denormal(denormal)


def _flushes_denormals() -> bool:
    """Whether torch takes denormal numbers for zeros; it has no question for that."""
    return float(torch.tensor(1e-39) * 1.0) == 0.0


def _module(module: nn.Module) -> Iterator[Callable[[], object]]:
    tensors: dict[int, Tensor] = {}
    for submodule in held_modules(module).values():
        attributes = dict(submodule.__dict__)
        for value in attributes.values():
            tensors.update((id(tensor), tensor) for tensor in _tensors(value))
            for container in containers_in(value):
                tensors.update((id(tensor), tensor) for tensor in _tensors(container))
                yield refilling(container)
        yield _resetting(submodule, attributes)
    outer = outer_variables(module)
    for value in (each.get() for each in outer):
        tensors.update(
            (id(tensor), tensor) for held in (value, *containers_of_outer(value)) for tensor in _tensors(held)
        )
    yield from putting_back(outer)
    for tensor in tensors.values():
        yield _rewriting(tensor)


def _tensors(value: object) -> list[Tensor]:
    """The tensors of an attribute: itself, or those in it."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return [entry for entry in entries if isinstance(entry, Tensor) and not entry.is_meta and not entry.is_sparse]


def _resetting(submodule: nn.Module, attributes: dict[str, Any]) -> Callable[[], None]:
    def reset() -> None:
        now = submodule.__dict__
        for name in now.keys() - attributes.keys():
            del now[name]
        now.update((name, value) for name, value in attributes.items() if now.get(name, now) is not value)

    return reset


def _rewriting(tensor: Tensor) -> Callable[[], None]:
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
