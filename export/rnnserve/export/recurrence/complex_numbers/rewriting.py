"""Going through a captured program, and writing each complex tensor as two real ones."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import TensorArgument

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.complex_numbers.pairs import Builder, Pair, is_complex, value_of
from rnnserve.export.recurrence.complex_numbers.rules import RULES, TRANSFORMS
from rnnserve.export.source_lines import line_of

__all__ = ["write_complex_in_reals"]

aten = torch.ops.aten

_OF_POINTS = (aten.fft_fft.default, aten.fft_ifft.default)


_TRANSLATED = TRANSFORMS | {"abs", "real", "imag", "view_as_real"}
"""Operators on complex numbers that torch.onnx translates: transforms, and what is read of them. Squares of its abs
overflow from 1e19 on; written out it would fix sizes that are computed, such as a number of frames."""


def _name(node: fx.Node) -> str:
    return "getitem" if node.target is operator.getitem else str(getattr(node.target, "_opname", node.target))


def write_complex_in_reals(program: torch.export.ExportedProgram) -> None:
    """Write complex numbers as pairs of real ones, in place, but those of Fourier transforms.

    A program that only reads what a transform gives stays as it is.

    Raises:
        UnsupportedModule: If an operator has no form in reals here.
    """
    nodes = list(program.graph.nodes)
    names = {_name(node) for node in nodes if is_complex(node) or any(map(is_complex, node.all_input_nodes))}
    if names <= _TRANSLATED:
        return
    rewriter = _Rewriter(program)
    for node in nodes:
        rewriter.visit(node)
    for node in reversed(nodes):
        if node.op != "placeholder" and is_complex(node) and not node.users:
            program.graph.erase_node(node)
    program.graph_module.recompile()


class _Rewriter:
    """Visits the nodes of a program in their order.

    Args:
        program: The program, which is changed.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._program = program
        values = (node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder")
        self._mode = next(value.fake_mode for value in values if hasattr(value, "fake_mode"))
        self._build = Builder(self._mode)
        self._pairs: dict[fx.Node, Pair] = {}
        self._first = next(node for node in program.graph.nodes if node.op != "placeholder")

    def visit(self, node: fx.Node) -> None:
        """Write a node in reals, if it takes or gives complex numbers."""
        reads = any(each in self._pairs for each in node.all_input_nodes)
        if not (reads or is_complex(node)):
            return
        if node.op == "placeholder":
            self._parameter(node)
            return
        if node.op == "output":
            raise UnsupportedModule("the module gives complex numbers; return torch.view_as_real of them")
        self._build.before(node)
        name = _name(node)
        if name == "_assert_tensor_metadata":
            self._program.graph.erase_node(node)
        elif name in TRANSFORMS:
            self._transform(node)
        else:
            found = RULES[name](node, self._build, self._parts) if name in RULES else None
            if found is None:
                raise UnsupportedModule(
                    f"{name}{line_of(node)} of complex numbers has no form in reals here. Write it with the real and "
                    "the imaginary part, from torch.view_as_real."
                )
            self._replace(node, found)

    def _replace(self, node: fx.Node, found: Pair | fx.Node) -> None:
        if isinstance(found, fx.Node):
            node.replace_all_uses_with(found)
            self._program.graph.erase_node(node)
            for spec in self._program.graph_signature.output_specs:
                if getattr(spec.arg, "name", None) == node.name:
                    spec.arg = TensorArgument(found.name)
        else:
            self._pairs[node] = found

    def _parts(self, value: Any) -> Pair:  # noqa: ANN401 - a node, or a number
        if isinstance(value, complex):
            return Pair(value.real, value.imag)
        return self._pairs.get(value, Pair(value)) if isinstance(value, fx.Node) else Pair(value)

    def _transform(self, node: fx.Node) -> None:
        """Make a complex tensor for a Fourier transform, and take apart what it gives."""
        for given in node.all_input_nodes:
            if given in self._pairs:
                both = self._build(aten.stack.default, list(self._of_points(node, self._pairs[given])), -1)
                node.replace_input_with(given, self._build(aten.view_as_complex.default, both))
        if is_complex(node):
            self._build.before(node.next)
            both = self._build(aten.view_as_real.default, node)
            self._pairs[node] = Pair(*(self._build(aten.select.int, both, -1, part) for part in (0, 1)))

    def _of_points(self, node: fx.Node, pair: Pair) -> Iterator[fx.Node]:
        """Give the parts with as many points as a transform takes: torch.onnx pads no complex numbers."""
        points = node.args[1] if len(node.args) > 1 and node.target in _OF_POINTS else None
        dim = node.args[2] if len(node.args) > 2 else -1
        for part in (pair.re, pair.im):
            if points is None:
                yield part
                continue
            axis = dim % value_of(part).dim()
            after = [0, 0] * (value_of(part).dim() - 1 - axis) + [0, points]
            padded = self._build(aten.constant_pad_nd.default, part, after, 0.0)
            yield self._build(aten.slice.Tensor, padded, axis, 0, points)
        if points is not None:
            node.args = (node.args[0], None, *node.args[2:])

    def _parameter(self, node: fx.Node) -> None:
        """Keep a parameter as reals with a further axis: of the program alone, the module's own stays."""
        program, name = self._program, node.name
        spec = next(each for each in program.graph_signature.input_specs if each.arg.name == name)
        target = spec.target
        holder = program.state_dict if target in program.state_dict else program.constants
        if target is None or target not in holder:
            raise UnsupportedModule(f"the input {name} is complex, and requests hold real numbers only")
        whole: Tensor = torch.view_as_real(holder[target].detach().resolve_conj()).contiguous()
        holder[target] = nn.Parameter(whole, requires_grad=False) if isinstance(holder[target], nn.Parameter) else whole
        node.meta["val"] = self._mode.from_tensor(whole)
        self._build.before(self._first)
        self._pairs[node] = Pair(*(self._build(aten.select.int, node, -1, part) for part in (0, 1)))
