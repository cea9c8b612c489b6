"""Variables outside of a module that its functions may change: global ones, those of functions around it, and others.

A forward may keep a state in them as in attributes: `global STATE`, a dict or an object of the file, a variable of the
function that makes the class, an attribute of the class, a default `memory={}`. They are no part of the module, so such
a state is refused by its name, and they are left as they were.
"""

import collections
import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from rnnserve.export.held_modules import contents, held_objects, is_object, reachable
from rnnserve.export.module_functions import functions_of, names_in
from rnnserve.export.source_lines import is_users_class, source_line
from rnnserve.export.torch_adapter import tree_leaves

__all__ = [
    "MISSING",
    "OuterLabel",
    "OuterVariable",
    "held_values",
    "outer_variables",
    "putting_back",
    "reached_from",
]

_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"}
"""PyTorch's own attributes, which change whenever parameters are replaced."""

_MOST_ENTRIES = 10_000
"""Entries of all lists, dicts and objects in a variable, from which on it holds data or parts of a program, and no
state: it is not looked into. A global configuration may lead to all that a program has."""

MISSING = object()
"""What a variable holds that is not set."""


class OuterLabel(str):
    """What messages call a variable outside of a module: no path of an attribute, which could be named instead."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class OuterVariable:
    """One variable.

    Attributes:
        owner: What it is a variable of: the dict of a file's global variables, a cell, a class, or a function.
        key: Its name there.
        label: What messages call it.
    """

    owner: Any
    key: str
    label: OuterLabel

    def get(self) -> Any:  # noqa: ANN401 - whatever the user keeps there
        """Give what it holds, or `MISSING`."""
        if isinstance(self.owner, dict):
            return self.owner.get(self.key, MISSING)
        if isinstance(self.owner, types.CellType):
            try:
                return self.owner.cell_contents
            except ValueError:
                return MISSING
        return vars(self.owner).get(self.key, MISSING) if isinstance(self.owner, type) else _defaults(self.owner)

    def put(self, value: Any) -> None:  # noqa: ANN401
        """Set it, if it holds something else."""
        if value is self.get() or isinstance(self.owner, types.FunctionType):  # a function's defaults stay its own
            return
        if isinstance(self.owner, dict):
            if value is MISSING:
                del self.owner[self.key]
            else:
                self.owner[self.key] = value
        elif isinstance(self.owner, types.CellType):
            if value is MISSING:
                del self.owner.cell_contents
            else:
                self.owner.cell_contents = value
        elif value is MISSING:
            delattr(self.owner, self.key)
        else:
            setattr(self.owner, self.key, value)


def outer_variables(module: nn.Module) -> list[OuterVariable]:
    """Give the variables that the user's functions of a module set, or that hold what they may change."""
    functions = functions_of(module)
    found = [variable for each in functions for variable in _of_function(each)]
    classes = {base: None for each in held_objects(module).values() for base in type(each).__mro__}
    classes.update((base, None) for each in functions for kind in _named_classes(each) for base in kind.__mro__)
    found += [variable for each in classes if is_users_class(each) for variable in _of_class(each)]
    return list({(id(each.owner), each.key): each for each in found}.values())


def putting_back(module: nn.Module, variables: Iterable[OuterVariable]) -> Callable[[], None]:
    """Give what sets variables of a module's to what they hold now, and takes those away that come later."""
    held = [(each, each.get()) for each in variables]
    owners = {id(each.owner): each.owner for each, _ in held if isinstance(each.owner, dict | type)}
    names = {key: set(each if isinstance(each, dict) else vars(each)) for key, each in owners.items()}

    def put_back() -> None:
        for each in outer_variables(module):
            if each.key not in names.get(id(each.owner), {each.key}):
                each.put(MISSING)
        for each, value in held:
            each.put(value)

    return put_back


def reached_from(value: Any) -> list[Any]:  # noqa: ANN401 - whatever a variable holds
    """Give the containers and objects in a variable's value, or nothing if these have very many entries."""
    return list(reachable([("", value)], _MOST_ENTRIES).values())


def held_values(module: nn.Module) -> dict[str, list[Any]]:
    """Give what attributes and outer variables hold, or what is in their lists, dicts and objects.

    A forward may write to those in place.
    """
    attributes = {
        f"{name}.{attribute}" if name else attribute: tree_leaves(value)
        for name, each in held_objects(module).items()
        for attribute, value in vars(each).items()
        if attribute not in _BOOKKEEPING
    }
    return attributes | {each.label: _leaves(each.get()) for each in outer_variables(module)}


def _of_function(function: types.FunctionType) -> Iterator[OuterVariable]:
    code, known = function.__code__, function.__globals__
    file = source_line(code.co_filename, None).partition(":")[0]
    for name in sorted(names_in(code) & known.keys()):
        value = known[name]
        if not (callable(value) or isinstance(value, types.ModuleType)) or is_object(value):
            yield OuterVariable(known, name, OuterLabel(f"the global variable `{name}` of {file}"))
        if isinstance(value, types.ModuleType) and is_users_class(value):
            for inner in sorted(names_in(code) & vars(value).keys()):
                if not callable(vars(value)[inner]):
                    yield OuterVariable(
                        vars(value), inner, OuterLabel(f"the global variable `{inner}` of `{value.__name__}`")
                    )
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            yield OuterVariable(cell, name, OuterLabel(f"the variable `{name}` around `{function.__qualname__}`"))
    if any(map(_may_change, _defaults(function))):
        yield OuterVariable(
            function, "__defaults__", OuterLabel(f"a default of a parameter of `{function.__qualname__}`")
        )


def _of_class(kind: type) -> Iterator[OuterVariable]:
    for name, value in sorted(vars(kind).items()):
        if not (name.startswith("__") or callable(value) or hasattr(type(value), "__get__")):
            yield OuterVariable(kind, name, OuterLabel(f"the attribute `{name}` of the class `{kind.__qualname__}`"))


def _named_classes(function: types.FunctionType) -> list[type]:
    named = [function.__globals__.get(name) for name in names_in(function.__code__)]
    cells = [OuterVariable(cell, "", OuterLabel()).get() for cell in function.__closure__ or ()]
    return [each for each in (*named, *cells) if isinstance(each, type)]


def _leaves(value: Any) -> list[Any]:  # noqa: ANN401
    inner = reached_from(value)
    entries = [leaf for each in contents(inner) for leaf in (each.values() if isinstance(each, dict) else each)]
    return entries if inner else [value]


def _may_change(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Tensor | dict | list | tuple | set | collections.deque) or is_object(value)


def _defaults(function: types.FunctionType) -> tuple[Any, ...]:
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
