"""What torch.onnx builds of torch alone at every call: built once in a process here, and not once an export.

`torch.onnx.export` reads and parses the source of each of its translations, looks through all operators of torch for
those that it takes apart, and gives each composite one 21 kernels: most of the time that the export of a small module
takes. An export here takes copies of what an earlier one has built, as long as torch has the same operators and
decompositions. Sources are not parsed at all: of a registered translation only the domain is read, and torch reads the
signature of a function that it calls again. And composite operators get kernels for usual devices only.

A program of nothing but operators that are translated as they are isn't traced again, for decompositions would leave it
as it is: it is copied. Operators that write to a tensor are always decomposed.
"""

import contextlib
import copy
import operator
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from rnnserve.export.torch_adapter import OpOverload, schema_of

__all__ = ["built_once"]

_LOCK = threading.Lock()
_built: dict[str, tuple[object, Any]] = {}  # by builder: what it was built from, and the result


@contextlib.contextmanager
def built_once() -> Iterator[None]:
    """Have exports in the context take copies of what was built before.

    Exports of other threads in the meantime take them, too: they are what they would have built. Where a later torch
    has its builders elsewhere, each export builds anew.
    """
    try:
        from onnxscript.values import TracedOnnxFunction
        from torch._export.utils import _is_cia_op, _is_preservable_cia_op
        from torch.export import exported_program
        from torch.onnx._internal.exporter import _decomp, _fx_passes, _registration
    except ImportError:
        yield
        return
    registry = _registration.ONNXRegistry

    def is_taken_apart(target: Any) -> bool:  # noqa: ANN401 - an operator
        return _is_cia_op(target) and not _is_preservable_cia_op(target)

    with contextlib.ExitStack() as restored:
        for owner, name in (
            (_decomp, "create_onnx_friendly_decomposition_table"),
            (exported_program, "_split_decomp_table_to_cia_and_python_decomp"),
        ):
            _replace(restored, owner, name, _kept)
        _replace(restored, _fx_passes, "decompose_with_registry", lambda each: _where_needed(each, is_taken_apart))
        # torch calls it on the class and on an instance.
        _replace(restored, registry, "from_torchlib", lambda _: staticmethod(_kept(registry.from_torchlib)))
        _replace(restored, _registration.OnnxDecompMeta, "__post_init__", lambda _: lambda _: None)
        _replace(restored, TracedOnnxFunction, "function_ir", lambda _: property(_unparsed))
        for name in ("_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE", "_BACKEND_KEYS_TO_OVERRIDE"):
            _replace(restored, exported_program, name, lambda keys: list(filter(_is_usual, keys)))
        yield


def _replace(restored: contextlib.ExitStack, owner: Any, name: str, change: Callable[[Any], Any]) -> None:  # noqa: ANN401
    before = vars(owner).get(name)
    if before is not None:
        changed = change(before)
        restored.callback(setattr, owner, name, before)
        setattr(owner, name, changed)


def _where_needed(
    decompose: Callable[..., ExportedProgram], is_taken_apart: Callable[[Any], bool]
) -> Callable[..., ExportedProgram]:
    def decomposed(program: ExportedProgram, registry: Any) -> ExportedProgram:  # noqa: ANN401 - torch's
        translated = {translations[0].fx_target for translations in registry.functions.values()}
        if all(_stays(node, translated, is_taken_apart) for node in program.graph.nodes):
            return _copy_program(program)
        return decompose(program, registry)

    return decomposed


def _stays(node: Node, translated: set[Any], is_taken_apart: Callable[[Any], bool]) -> bool:
    """Whether decompositions leave a node as it is."""
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    target = node.target
    if target is operator.getitem:
        return True
    if target not in translated:
        return False
    return not isinstance(target, OpOverload) or not (schema_of(target).is_mutable or is_taken_apart(target))


def _copy_program(program: ExportedProgram) -> ExportedProgram:
    """Copy a program with a graph of its own, which torch.onnx changes, without results that nothing uses."""
    graph = copy.deepcopy(program.graph)
    for node, original in zip(graph.nodes, program.graph.nodes, strict=True):
        node.name = original.name  # a copy avoids names of Python's functions, which an input may have
    graph.eliminate_dead_code()
    copied = copy.copy(program)
    copied._graph_module = GraphModule(program.graph_module, graph)  # noqa: SLF001 - as torch.onnx does
    copied._graph_module.meta.update(program.graph_module.meta)  # noqa: SLF001
    return copied


def _unparsed(function: Any) -> Any:  # noqa: ANN401 - onnxscript's
    return types.SimpleNamespace(domain=function.opset.domain)


def _is_usual(key: Any) -> bool:  # noqa: ANN401 - a dispatch key
    return str(key.name).lower().removeprefix("autograd") in ("cpu", "cuda", "meta")


def _kept(build: Callable[..., Any]) -> Callable[..., Any]:
    def kept(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - torch's own arguments and result
        given = [copy.copy(each) for each in args]  # the builder may change them
        with _LOCK:
            found = _built.get(build.__name__)
            if found is None or found[0] != (given, options, _operators()):
                result = build(*args, **options)
                # torch loads operators while it builds.
                found = _built[build.__name__] = ((given, options, _operators()), result)
            return _copy(found[1])

    return kept


def _operators() -> object:
    """What torch has in this process so far: libraries add operators and decompositions when they are imported."""
    return frozenset(torch._C._dispatch_get_all_op_names()), dict(torch._decomp.decomposition_table)  # noqa: SLF001


def _copy(built: Any) -> Any:  # noqa: ANN401 - a registry, a dict, or a pair of dicts
    """Copy what was built, so that what an export changes stays its own."""
    if isinstance(built, tuple):
        return tuple(map(_copy, built))
    if isinstance(built, dict):
        return dict(built)
    copied = copy.copy(built)
    copied.functions = {target: list(translations) for target, translations in built.functions.items()}
    return copied
