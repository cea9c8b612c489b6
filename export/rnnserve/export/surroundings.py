"""Find everything that a module contains, and restore the module and the process's global state after each use.

A forward may write to buffers and attributes, draw random numbers, and change torch's settings. torch's exporter also
sets attributes. The published files must not depend on how often the module has run, and the user may continue to train
it. So all code that runs the user's module runs inside `left_as_they_were`.

`nn.Module.named_modules` returns only registered modules. `self.cells = [Cell(), Cell()]` registers no module, and
neither does `self.decoder = Decoder(…)` with an ordinary class, but both are part of the computation. An object is
treated as a dict of its attributes.
"""

import collections
import contextlib
import functools
import random
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.source_lines import is_users_class, is_users_code
from rnnserve.export.torch_adapter import tree_leaves

_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"}
"""PyTorch's own attributes, which change whenever parameters are replaced."""

_PLAIN = frozenset({bool, float, int, str, types.NoneType})
"""Types of most attributes. Their values contain no other objects."""

_CONTAINERS = (dict, list, tuple, set, collections.deque)
_NO_OBJECTS = (nn.Module, Tensor, type, types.FunctionType, types.ModuleType, dict, list, tuple, set)

_MOST_ENTRIES = 10_000
"""Most entries in the lists, dicts and objects of a variable. A larger variable holds data or large parts of a program,
so it isn't restored. For example, a global configuration may refer to every object of a program."""

_Restore = Callable[[], object]


class Wrapper(nn.Module):
    """A wrapper that the export puts around another module, `module`. Paths shown to users start inside it."""

    module: nn.Module


def path_of_the_users(module: nn.Module) -> str:
    """Return the path of the user's module inside its wrappers, such as "module.module". Empty without wrappers."""
    path = []
    while isinstance(module, Wrapper):
        path.append("module")
        module = module.module
    return ".".join(path)


def users_module(module: nn.Module) -> nn.Module:
    """Return the user's module inside its wrappers."""
    return module.get_submodule(path_of_the_users(module))


def _reachable(roots: Iterable[tuple[str, Any]], most: int = 0) -> dict[str, Any]:
    """Find all modules, objects and containers that the given values contain, by path. Includes the values themselves.

    Returns an empty dict if there are more than `most` entries, unless `most` is 0.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    entries = 0
    waiting = list(roots)
    for path, value in waiting:  # the loop extends the list
        holds = isinstance(value, (nn.Module, *_CONTAINERS)) or _is_object(value)
        if not holds or id(value) in seen:
            continue
        seen.add(id(value))
        found[path] = value
        inner = _entries_of(value)
        entries += 1 + len(inner)
        if most and entries > most:
            return {}
        waiting += [(f"{path}.{key}".lstrip("."), entry) for key, entry in inner if type(entry) not in _PLAIN]
    return found


def held_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Return all modules by path, such as "cells.0.linear"."""
    return {path: each for path, each in held_objects(module).items() if isinstance(each, nn.Module)}


def held_objects(module: nn.Module) -> dict[str, Any]:
    """Return all modules by path, and the objects of ordinary classes inside them."""
    found = _reachable(module.named_modules())
    return {path: each for path, each in found.items() if isinstance(each, nn.Module) or _is_object(each)}


def held_values(module: nn.Module) -> dict[str, list[Any]]:
    """Return the values of attributes and buffers by path. For a list, dict or tree, return its leaves."""
    attributes = {
        f"{path}.{name}".lstrip("."): tree_leaves(value)
        for path, each in held_objects(module).items()
        for name, value in vars(each).items()
        if name not in _BOOKKEEPING
    }
    return attributes | {name: [buffer] for name, buffer in module.named_buffers()}


def owner_of(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - a module, or an object inside it
    """Return the module or object that has an attribute such as "cells.0.mem". Raises AttributeError if missing."""
    owner = path.rpartition(".")[0]
    try:
        return module.get_submodule(owner)
    except AttributeError:
        if (held := held_objects(module).get(owner)) is None:
            raise
        return held


def _is_object(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is an instance of a class from the user's code or from a package that the user chose."""
    if type(value) in _PLAIN:
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    if isinstance(value, _NO_OBJECTS):
        return False
    return hasattr(value, "__dict__") and is_users_class(type(value))


def _entries_of(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """Return the contents of a container, an object or a module, with their keys, positions or names."""
    if isinstance(value, nn.Module):
        return [*value.named_children(), *vars(value).items()]
    if _is_object(value):
        value = vars(value)
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, _CONTAINERS) else []


_CACHED = type(functools.lru_cache(lambda: None))
"""The type of functions with a cache."""

_KEPT_CODES = 65_536
"""Size of the cache of names in functions. Each export reads them dozens of times, and pandas has thousands of
functions."""


def functions_of(module: nn.Module) -> tuple[list[types.FunctionType], list[Any]]:
    """Return the user's functions that a module may run: methods of its parts, and functions named in these methods.

    Also returns the wrappers (`lru_cache`) that cache results of these functions.
    """
    waiting: list[Any] = []
    for each in held_objects(module).values():
        waiting += [*_of_class(type(each)), *vars(each).values()]
    found: dict[int, types.FunctionType] = {}
    caches: dict[int, Any] = {}
    classes: dict[int, type] = {}
    while waiting:
        value = waiting.pop()
        if isinstance(value, _CACHED):
            caches[id(value)] = value
        for function in _unwrapped(value):
            if id(function) not in found and is_users_code(function.__code__.co_filename):
                found[id(function)] = function
                waiting.extend(_named_in(function, classes))
    return list(found.values()), [each for each in caches.values() if id(each.__wrapped__) in found]


def _of_class(kind: type) -> list[Any]:
    classes = [each for each in kind.__mro__ if each not in (object, nn.Module)]
    return [value for each in classes for value in vars(each).values()]


def _unwrapped(value: Any) -> Iterator[types.FunctionType]:  # noqa: ANN401 - any attribute of a class or module
    """List the plain functions in a method, property, partial, decorated or scripted function, or a table of these."""
    if isinstance(value, torch.jit.ScriptFunction):  # torch.export runs the original Python function
        value = getattr(value, "_torchdynamo_inline", None)
    if isinstance(value, staticmethod | classmethod | types.MethodType):
        yield from _unwrapped(value.__func__)
    elif isinstance(value, property):
        yield from _unwrapped(value.fget)
    elif isinstance(value, functools.partial):
        yield from _unwrapped(value.func)
    elif isinstance(value, _CACHED):
        yield from _unwrapped(value.__wrapped__)
    elif isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            if isinstance(entry, types.FunctionType | types.MethodType | functools.partial):
                yield from _unwrapped(entry)
    elif isinstance(value, types.FunctionType):
        yield value
        if "__wrapped__" in value.__dict__:
            yield from _unwrapped(value.__dict__["__wrapped__"])


def _named_in(function: types.FunctionType, classes: dict[int, type]) -> list[Any]:
    """Return the functions named in a function's code, directly or through a module or a class not seen before."""
    found: list[Any] = []
    cells = [value for cell in function.__closure__ or () for value in _contents_of(cell).values()]
    named = [function.__globals__[name] for name in _names_in(function.__code__) if name in function.__globals__]
    for value in [*cells, *named]:
        if isinstance(value, types.ModuleType):
            found += [vars(value)[name] for name in _names_in(function.__code__) if name in vars(value)]
        elif isinstance(value, type | nn.Module) or _is_object(value):
            kind = value if isinstance(value, type) else type(value)
            found += [] if id(kind) in classes else _of_class(kind)
            classes[id(kind)] = kind
        else:
            found.append(value)
    return found


@functools.lru_cache(_KEPT_CODES)
def _names_in(code: types.CodeType) -> frozenset[str]:
    """Return the global names and attributes that a code object and its nested code objects use."""
    # pytest adds names that aren't identifiers to the code it runs.
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return frozenset(filter(str.isidentifier, code.co_names)).union(*map(_names_in, inner))


def _contents_of(cell: types.CellType) -> dict[str, Any]:
    """Return the value of a closure variable as a dict, which is empty if the variable isn't set."""
    try:
        return {"cell_contents": cell.cell_contents}
    except ValueError:
        return {}


@contextlib.contextmanager
def left_as_they_were(module: nn.Module | None = None) -> Iterator[None]:
    """After the context, restore the process's global state and, if you pass one, a module.

    In the module, this covers every attribute of every submodule, including training flags, hooks, and the contents of
    lists, dicts and sets. For parameters, buffers and other tensors, it covers the values and `requires_grad`. Outside
    the module, it covers global variables that the module's functions name, attributes of its classes, closure
    variables, and parameter defaults. In the process, it covers the random state of torch, numpy and Python, and
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
    """List functions that restore a module to its current state, with `values` also the tensors' values.

    The list is empty for a script or a value other than a module.
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return []
    functions, _ = functions_of(module)
    spaces = list(_spaces(module, functions))
    outside = [value for _, names in spaces for value in names.values()]
    outside += [value for each in functions for value in (each.__defaults__, each.__kwdefaults__)]
    outside = list({id(value): value for value in outside}.values())
    held = list(_reachable(module.named_modules()).values())
    held += [each for value in outside for each in _reachable([("", value)], _MOST_ENTRIES).values()]
    containers = [each if isinstance(each, _CONTAINERS) else vars(each) for each in held if not isinstance(each, tuple)]
    restore: list[_Restore] = [_refilling(each) for each in containers]
    restore += [functools.partial(_set_again, space, names) for space, names in spaces]
    if values:
        entries = [entry for each in held for _, entry in _entries_of(each)] + outside
        tensors = {id(each): each for each in entries if isinstance(each, Tensor)}
        restore += [_rewriting(each) for each in tensors.values() if not (each.is_meta or each.is_sparse)]
    return restore


def _spaces(module: nn.Module, functions: Sequence[types.FunctionType]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """List variables outside a module that its functions may set: globals, class attributes and closure variables."""
    classes = {base for each in held_objects(module).values() for base in type(each).__mro__}
    for function in functions:
        known = function.__globals__
        named = {name: known[name] for name in _names_in(function.__code__) & known.keys()}
        is_code = {name: callable(value) or isinstance(value, types.ModuleType) for name, value in named.items()}
        yield known, {name: value for name, value in named.items() if _is_object(value) or not is_code[name]}
        for cell in function.__closure__ or ():
            yield cell, _contents_of(cell)
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
    """Set changed variables back to their former values, and remove new attributes of a class."""
    if isinstance(space, dict):
        now, write = space, space.__setitem__
    else:
        now = _contents_of(space) if isinstance(space, types.CellType) else _class_variables(space)
        write = functools.partial(setattr, space)
        for name in now.keys() - before.keys():
            delattr(space, name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            write(name, value)


def _refilling(container: Any) -> _Restore:  # noqa: ANN401 - a dict, list, set or deque
    """Return a function that restores a container's current contents if they have changed."""
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
    """List the contents of a container. For a dict, each key is followed by its value."""
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
        one, other = one.to_dense(), other.to_dense()  # some functions lack kernels for some sparse layouts
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())


def _process() -> Iterator[_Restore]:
    settings: tuple[tuple[Any, Callable[[Any], object]], ...] = (
        (torch.get_rng_state(), torch.set_rng_state),
        (np.random.get_state(), np.random.set_state),  # noqa: NPY002 - only to restore the legacy generator
        (random.getstate(), random.setstate),
        (torch.is_grad_enabled(), torch.set_grad_enabled),
        (torch.get_default_dtype(), torch.set_default_dtype),
        (torch.get_num_threads(), torch.set_num_threads),
        (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
        (torch.is_autocast_enabled("cpu"), functools.partial(torch.set_autocast_enabled, "cpu")),
        (torch.get_autocast_dtype("cpu"), functools.partial(torch.set_autocast_dtype, "cpu")),
        (float(torch.tensor(1e-39) * 1.0) == 0.0, torch.set_flush_denormal),  # torch has no getter for this setting
    )
    for value, restore in settings:
        yield functools.partial(restore, value)
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    yield lambda: torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that the bits of a result don't depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
