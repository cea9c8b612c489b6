"""torch's tables of decompositions, built once in a process and not once an export.

`torch.onnx.export` asks for them at every call: which operators it takes apart, and by what. torch looks through all of
its operators for that, and gives each composite one 21 kernels: a third of the time that the export of a small module
takes. What it builds depends on nothing of the module; so an export here takes copies of what an earlier one has built,
as long as torch has the same operators, decompositions and kernels. And composite operators get kernels for usual
devices only, where the program has no tensor on another.
"""

import contextlib
import copy
import importlib
import threading
import typing
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree

__all__ = ["decompositions_kept"]

_BUILDERS = {
    # set of operators that torch.onnx translates -> dict of decompositions
    "torch.onnx._internal.exporter._decomp": "create_onnx_friendly_decomposition_table",
    # dict of decompositions -> pair of dicts: those of composite operators, and the others
    "torch.export.exported_program": "_split_decomp_table_to_cia_and_python_decomp",
}
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd  # noqa: SLF001

_KEYS = ("_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE", "_BACKEND_KEYS_TO_OVERRIDE")
"""torch's lists of keys for which `torch.export.exported_program` gives each composite operator a kernel."""

_USUAL = frozenset({"cpu", "cuda", "meta"})
"""Devices of programs, in the words of torch; their keys end with them."""

_LOCK = threading.Lock()
_kept: dict[str, tuple[object, Any]] = {}  # by builder: what it was built from, and the tables


@contextlib.contextmanager
def decompositions_kept(program: torch.export.ExportedProgram | None = None) -> Iterator[None]:
    """Have exports in the context take copies of the tables that were built before.

    Exports of other threads in the meantime take them, too: they are what they would have built. Where a later torch
    has its builders elsewhere, each export builds its tables anew.

    Args:
        program: Program that is exported. Where its tensors are on usual devices, others get no kernels; None: all do.
    """
    operators = _operators()
    with contextlib.ExitStack() as restored:
        for name, function in _BUILDERS.items():
            with contextlib.suppress(ImportError, AttributeError):
                module = importlib.import_module(name)
                _replace(restored, module, function, _keeping(getattr(module, function), operators))
        if program is not None and _devices(program) <= _USUAL:
            exporter = importlib.import_module("torch.export.exported_program")
            for name in _KEYS:
                if hasattr(exporter, name):
                    _replace(restored, exporter, name, list(filter(_is_usual, getattr(exporter, name))))
        # torch annotates a function for each kernel, with an alias of collections.abc that is made anew each time;
        # those of typing are cached.
        if getattr(torch._ops, "Callable", None) is Callable:  # noqa: SLF001
            _replace(restored, torch._ops, "Callable", typing.Callable)  # noqa: SLF001
        yield


def _devices(program: torch.export.ExportedProgram) -> set[str]:
    values = _pytree.tree_leaves([node.meta.get("val") for node in program.graph.nodes])
    return {value.device.type for value in values if isinstance(value, torch.Tensor)}


def _is_usual(key: Any) -> bool:  # noqa: ANN401 - a dispatch key
    return any(key.name.lower() in (device, f"autograd{device}") for device in _USUAL)


def _replace(restored: contextlib.ExitStack, module: Any, name: str, value: object) -> None:  # noqa: ANN401 - a module
    restored.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, value)


def _keeping(build: Callable[[Any], Any], operators: object) -> Callable[[Any], Any]:
    def kept(table: Any) -> Any:  # noqa: ANN401 - the builder's own argument and result
        given = copy.copy(table)  # the builder changes it
        with _LOCK:
            found = _kept.get(build.__name__)
            if found is None or found[0] != (given, operators, _kernels(found[1])):
                tables = build(table)
                # torch loads operators while it builds.
                found = _kept[build.__name__] = ((given, _operators(), _kernels(tables)), tables)
            return _copy(found[1])

    return kept


def _operators() -> object:
    """What torch has in this process so far: operators, which of them are composite, and decompositions by Python."""
    return (
        frozenset(torch._C._dispatch_get_all_op_names()),  # noqa: SLF001 - there is no public way
        frozenset(torch._C._dispatch_get_registrations_for_dispatch_key(_COMPOSITE.name)),  # noqa: SLF001 - the same
        dict(torch._decomp.decomposition_table),  # noqa: SLF001 - the same
    )


def _kernels(tables: Any) -> list[object]:  # noqa: ANN401 - as `_copy`
    """Kernels of Python that composite operators have: tables hold them."""
    some = tables if isinstance(tables, tuple) else (tables,)
    return [getattr(operator, "py_kernels", {}).get(_COMPOSITE) for table in some for operator in table]


def _copy(tables: Any) -> Any:  # noqa: ANN401 - a dict, or a tuple of dicts
    """Copy tables, so that what an export changes stays its own."""
    return tuple(map(dict, tables)) if isinstance(tables, tuple) else dict(tables)
