"""Programs that torch's decompositions leave as they are, so that they need not be traced again.

`torch.onnx.export` takes operators apart for which it has no translation. It traces the whole program for that, on
tensors without values: two fifths of the time that the export of a small module takes. A program of nothing but
recurrent layers, linear ones and other operators that are translated as they are comes out the same. Here it is
recognised, and copied.

What cannot be recognised at sight is decomposed: operators that write to a tensor, that compute with sizes, that torch
takes apart, whatever it makes of them, and results that nothing uses, which a trace leaves out. So is what would get
other names: a trace numbers sums, products and the like together with those of sizes, and leaves no number out.
"""

import contextlib
import copy
import operator
from collections.abc import Collection, Iterator
from typing import Any, cast

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.sym_node import magic_methods

__all__ = ["copied_where_undecomposed", "is_undecomposed"]

_OF_SIZES = frozenset({*magic_methods, "pow"})
"""Functions of sizes, as a trace names their nodes."""

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd  # noqa: SLF001 - there is no public way


@contextlib.contextmanager
def copied_where_undecomposed() -> Iterator[None]:
    """Have torch.onnx.export in the context copy a program that its decompositions leave as it is.

    Where a later torch decomposes elsewhere, each program is decomposed.
    """
    try:
        from torch._export.utils import _special_op_to_preserve_cia as stays
        from torch.export import exported_program
        from torch.onnx._internal.exporter import _decomp, _fx_passes

        decompose = _fx_passes.decompose_with_registry
        split = exported_program._split_decomp_table_to_cia_and_python_decomp  # noqa: SLF001 - there is no public way
        overloads, table = _decomp.get_onnx_implemented_overloads, _decomp.create_onnx_friendly_decomposition_table
    except (ImportError, AttributeError):
        yield
        return

    def decomposed(program: ExportedProgram, registry: Any) -> ExportedProgram:  # noqa: ANN401 - torch's
        built: Any = table(set(overloads(registry)))
        composite, others = split(dict(built))
        kept = {each for each, how in composite.items() if how is stays}
        return _copy(program) if is_undecomposed(program, kept, others) else decompose(program, registry)

    _fx_passes.decompose_with_registry = decomposed  # type: ignore[assignment]
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = decompose


def is_undecomposed(program: ExportedProgram, kept: Collection[Any], others: Collection[Any]) -> bool:
    """Whether torch's decompositions leave a captured program as it is.

    Args:
        program: The program.
        kept: Composite operators that are not taken apart.
        others: Other operators that are.
    """
    return all(_stays(node, kept, others) for node in program.graph.nodes) and _is_numbered_as_traced(program.graph)


def _stays(node: Node, kept: Collection[Any], others: Collection[Any]) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    if node.op != "call_function" or not node.users:
        return False
    target = node.target
    if target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload) or not _is_of_tensors(node.meta.get("val")):  # noqa: SLF001
        return False
    if target._schema.is_mutable or target in others or target.overloadpacket.__name__ in _OF_SIZES:  # noqa: SLF001
        return False
    return not _is_composite(target) or target in kept


def _is_numbered_as_traced(graph: Graph) -> bool:
    """Whether nodes have the names that a trace gives them: passes and torch may have left some out."""
    traced = Graph()
    parts: dict[tuple[Any, ...], str] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is operator.getitem:
            name: str | None = parts.get(node.args)
        else:
            target = cast(torch._ops.OpOverload, node.target)  # noqa: SLF001
            name = traced.create_node("call_function", target, name=target.overloadpacket.__name__).name
            value = node.meta["val"]
            for at in range(len(value) if isinstance(value, tuple | list) else 0):
                parts[node, at] = traced.call_function(operator.getitem).name
        if node.name != name:
            return False
    return True


def _is_of_tensors(value: object) -> bool:
    values = value if isinstance(value, tuple | list) else (value,)
    return all(isinstance(each, torch.Tensor) for each in values)


def _is_composite(target: torch._ops.OpOverload) -> bool:
    name: str = target.name()  # type: ignore[no-untyped-call]  # of torch
    return _COMPOSITE in target.py_kernels or torch._C._dispatch_has_kernel_for_dispatch_key(name, _COMPOSITE.name)  # noqa: SLF001


def _copy(program: ExportedProgram) -> ExportedProgram:
    """Copy a program with a graph of its own, which torch.onnx changes."""
    graph = copy.deepcopy(program.graph)
    for node, original in zip(graph.nodes, program.graph.nodes, strict=True):
        # An input may have the name of one of Python's functions, which a copy avoids.
        node.name = original.name
    copied = copy.copy(program)
    copied._graph_module = GraphModule(program.graph_module, graph)  # noqa: SLF001 - as torch.onnx does
    copied._graph_module.meta.update(program.graph_module.meta)  # noqa: SLF001
    return copied
