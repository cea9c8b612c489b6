"""Checking what a captured program does with `data` of packed sequences: each value is computed with by itself.

Eager has these values sorted by length and without padding, a captured program those of all steps (`packed_values`).
So an average of them, or a difference of neighbours, would be another one. The program is walked from the operators
that give `data` on: what comes of it may go through operators that keep the first axis apart, and end where a
`PackedSequence` is made of it that is packed by the same lengths. All else is refused.
"""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, fx
from torch.utils._sympy.symbol import SymT, symbol_is_type

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.packed_operators import (
    ASSERTIONS,
    CONSTANT,
    COPIES,
    DROPOUTS,
    SIZED,
    SIZES,
    keeps_apart,
    kind_of,
)
from rnnserve.export.recurrence.packed_values import DATA, FILL
from rnnserve.export.recurrence.padded_sequence import WORK_ON_PADDED
from rnnserve.export.recurrence.scan_markers import MARKER
from rnnserve.export.recurrence.scan_writes import viewed, written_by
from rnnserve.export.source_lines import line_of

__all__ = ["check_packed_values"]


def check_packed_values(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that computes with packed values otherwise than with each by itself.

    Raises:
        UnsupportedModule: If it does; the message names the operator and the user's line.
    """
    for part in program.graph_module.modules():
        if isinstance(part, fx.GraphModule):
            walk = _Walk()
            for node in part.graph.nodes:
                walk.visit(node)


@dataclasses.dataclass(frozen=True)
class _Values:
    """What is known of a node that holds packed values, or is computed of their number.

    Attributes:
        order: The lengths that they are packed by, and the numbers of steps and rows.
        count: How many they are, an expression of sympy.
        is_own: Whether it is another tensor than eager's sequence holds, and no view of that one.
    """

    order: tuple[object, str]
    count: Any
    is_own: bool = False


class _Walk:
    """A walk through a graph, from `data` on."""

    def __init__(self) -> None:
        self._known: dict[object, _Values] = {}

    def visit(self, node: fx.Node) -> None:
        """Note what a node holds of packed values.

        Raises:
            UnsupportedModule: If the node does with them what would be exported wrong.
        """
        if node.target is DATA:
            self._begin(node)
        elif node.target is FILL:
            self._end(node)
        elif any(each in self._known for each in node.all_input_nodes) and kind_of(node) not in ASSERTIONS:
            self._go_through(node)

    def _begin(self, node: fx.Node) -> None:
        steps, lengths, _ = node.args
        if steps in self._known or lengths in self._known:
            _refuse(f"the module packs `data` of a PackedSequence again{line_of(node)}")
        self._known[node] = _Values(_order(steps, lengths), node.meta["val"].shape[0].node.expr)

    def _end(self, node: fx.Node) -> None:
        data, steps, lengths = node.args
        held = self._known.get(data)
        if held is None or held.order != _order(steps, lengths):
            _refuse(
                f"the module makes a PackedSequence{line_of(node)} of other values than those of one with the same "
                "lengths and number of steps"
            )
        if not (held.count.is_Symbol and symbol_is_type(held.count, SymT.UNBACKED_INT)):
            _refuse(f"the module takes the number of values of a PackedSequence for another size{line_of(node)}")

    def _go_through(self, node: fx.Node) -> None:
        holding = [each for each in node.all_input_nodes if each in self._known]
        given = [self._known[each] for each in holding]
        tensors = [each for each in holding if _has_tensors(each)]
        does = f"{'a loop over steps' if node.target is MARKER else node.target}{line_of(node)}"
        if node.op == "output":
            _refuse(f"the module returns `data` of a PackedSequence{line_of(holding[0])}, or what it computes of it")
        if any(not self._known[each].is_own for each in written_by(node) if each in self._known):
            _refuse(f"{does} writes into `data` of a PackedSequence, and so into the sequence itself")
        if kind_of(node) in SIZES or (_is_of_numbers(node) and not tensors):
            if any(_depends(node, each.count) for each in self._known.values()):
                self._known[node] = given[0]
            return
        if len({each.order for each in given}) > 1:
            _refuse(f"{does} joins `data` of PackedSequences with other lengths or numbers of steps")
        if len(tensors) < len(holding) and not _takes_sizes(node, [each for each in holding if each not in tensors]):
            _refuse(f"{does} computes with the number of values in `data` of a PackedSequence")
        if kind_of(node) in CONSTANT and not _depends(node, given[0].count):
            return
        if not keeps_apart(node, tensors, given[0].count):
            _refuse(f"{does} mixes the values in `data` of a PackedSequence, or is not known to keep them apart")
        self._known[node] = dataclasses.replace(given[0], is_own=self._is_own(node))

    def _is_own(self, node: fx.Node) -> bool:
        source = node.args[0] if kind_of(node) in DROPOUTS else viewed(node)
        return source not in self._known or self._known[source].is_own


def _refuse(what: str) -> NoReturn:
    raise UnsupportedModule(
        f"{what}. Eager has the values of a PackedSequence sorted by length and without padding, an exported module "
        "those of all steps. Only what is computed of each value by itself is the same, as by linear layers, "
        "embeddings, activations and normalisations of features, and only within a PackedSequence that is made of the "
        f"results, with the batch_sizes and indices of the one that `data` is from. {WORK_ON_PADDED}"
    )


def _order(steps: Any, lengths: Any) -> tuple[object, str]:  # noqa: ANN401 - arguments of a node
    """Tell how values are packed: by the tensor that the lengths are, or are a copy of, and by the sizes."""
    while kind_of(lengths) in COPIES:
        source = lengths.args[0]
        dtype = lengths.meta["val"].dtype
        if torch.promote_types(source.meta["val"].dtype, dtype) != dtype:
            break
        lengths = source
    return lengths, str(steps.meta["val"].shape[:2])


def _values(node: fx.Node) -> Sequence[object]:
    value = node.meta.get("val")
    return value if isinstance(value, tuple | list) else (value,)


def _has_tensors(node: fx.Node) -> bool:
    return any(isinstance(each, Tensor) for each in _values(node))


def _is_of_numbers(node: fx.Node) -> bool:
    """Whether a node computes a size of others, with a function of Python."""
    is_operator = isinstance(node.target, torch._ops.OpOverload) or node.target is operator.getitem  # noqa: SLF001
    return node.op == "call_function" and not is_operator and not _has_tensors(node)


def _takes_sizes(node: fx.Node, numbers: Sequence[fx.Node]) -> bool:
    """Whether a node takes numbers as sizes of axes only."""
    return kind_of(node) in SIZED and not any(each in numbers for each in (*node.args, *node.kwargs.values()))


def _depends(node: fx.Node, count: Any) -> bool:  # noqa: ANN401 - of sympy
    """Whether a number, or a size of a tensor, is computed of the number of values."""
    sizes = [size for each in _values(node) for size in (each.shape if isinstance(each, Tensor) else [each])]
    return any(count.free_symbols & size.node.expr.free_symbols for size in sizes if hasattr(size, "node"))
