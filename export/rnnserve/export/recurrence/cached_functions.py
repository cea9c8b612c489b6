"""Functions with a cache, `functools.lru_cache`, that run without it while a module is captured.

A mask of n steps is often kept so. A size of a capture is no key of a cache, and what a capture computes has no values:
kept, it would be the result of the module's later calls.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from rnnserve.export.held_modules import CACHED, functions_of, held_objects, names_in
from rnnserve.export.source_lines import is_users_code

__all__ = ["uncached"]


@contextlib.contextmanager
def uncached(module: nn.Module) -> Iterator[None]:
    """Have a module's functions and methods name what is within a cache, in the context; then the cache again."""
    changed: list[tuple[Callable[[Any], None], Any]] = []
    try:
        for put, value in list(_places(module)):
            if isinstance(value, CACHED) and _is_users(value.__wrapped__):
                changed.append((put, value))
                put(_passing(value))
        yield
    finally:
        for put, value in reversed(changed):
            put(value)


def _places(module: nn.Module) -> Iterator[tuple[Callable[[Any], None], Any]]:
    """Give what the module's functions may call, each with how another is put in its place."""
    for kind in {each for held in held_objects(module).values() for each in type(held).__mro__}:
        for name, value in list(vars(kind).items()):
            yield functools.partial(setattr, kind, name), value
    for function in functions_of(module):
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is not set
                yield functools.partial(setattr, cell, "cell_contents"), cell.cell_contents
        names, variables = names_in(function.__code__), function.__globals__
        for name in names:
            value = variables.get(name)
            yield functools.partial(variables.__setitem__, name), value
            if isinstance(value, types.ModuleType):
                for attribute in names & vars(value).keys():
                    yield functools.partial(setattr, value, attribute), vars(value)[attribute]


def _passing(cached: Any) -> Callable[..., Any]:  # noqa: ANN401 - a function with a cache
    """Make a function of one with a cache that passes it by."""
    function = cached.__wrapped__

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - the function's own
        return function(*args, **named)

    for name in ("cache_clear", "cache_info", "cache_parameters"):
        setattr(called, name, getattr(cached, name))
    return called


def _is_users(value: object) -> bool:
    return isinstance(value, types.FunctionType) and is_users_code(value.__code__.co_filename)
