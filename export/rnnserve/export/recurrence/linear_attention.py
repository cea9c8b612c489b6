"""Replace a Scan that is linear attention by onnxruntime's operator LinearAttention, which is several times as fast.

The state S (batch, heads, keys, values) of linear attention is a sum of products of keys and values. Each step computes

    S = exp(g) * S + beta * k ⊗ (v - Sᵀk)      y = Sᵀq

without the decay g, or without the delta rule's `beta` and `Sᵀk`. Retention, gated linear attention, the delta rule and
Mamba-2 are written so, in many ways. This file therefore reads the Scan's body as sums of products in which each axis
has a label, like an Einsum, and compares these sums with the formula. If anything differs, the Scan stays.

A decay must be written as `exp(g)`, because the operator takes g: the logarithm of another decay would be rounded, and
that error grows with the number of steps.
"""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import onnx_ir as ir
import onnxruntime as ort

from rnnserve.export.operators.graphs import NodesBefore, integers_of, remove_unused

__all__ = ["LINEAR_ATTENTION", "use_linear_attention"]

LINEAR_ATTENTION, _DOMAIN = "LinearAttention", "com.microsoft"
_SINCE = (1, 32)  # the first release of onnxruntime that was tried with the operator
_MOST_READS = 200  # of nodes in a body, which is small if it is linear attention
_OPAQUE = ("Div", "Exp", "Log", "Pow", "Sigmoid", "Softplus", "Tanh")  # elementwise, and not read as products
_ELEMENTWISE = (*_OPAQUE, "Add", "Mul", "Neg", "Sub")


class _Differs(Exception):
    """A Scan isn't linear attention."""


@dataclasses.dataclass(frozen=True)
class _Factor:
    """The state, a step of an input, a value from outside the body, or what an opaque operator makes of these."""

    value: ir.Value
    axes: tuple[int, ...]  # the label of each axis; 0 for an axis of size 1


@dataclasses.dataclass(frozen=True)
class _Sum:
    """A value as a sum of products, each with its sign. Labels that aren't among the axes are summed over."""

    axes: tuple[int, ...]
    products: tuple[tuple[int, tuple[_Factor, ...]], ...]


def use_linear_attention(model: ir.Model) -> None:
    """Replace the Scans of the main graph that are linear attention, in place, if onnxruntime has the operator here."""
    if tuple(map(int, ort.__version__.split(".")[:2])) < _SINCE:
        return
    for node in [node for node in model.graph if node.op_type == "Scan"]:
        with contextlib.suppress(_Differs):
            _Scan(model.graph, node).replace()
            model.graph.opset_imports[_DOMAIN] = 1
        remove_unused(model.graph)


class _Scan:
    """A Scan with one state and one output."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._node, self._body = node, node.attributes["body"].as_graph()
        self._nodes = NodesBefore(graph, node, f"{node.outputs[0].name}/before")
        self._steps = dict(zip(self._body.inputs[1:], node.inputs[1:], strict=True))
        state = self._body.inputs[0]
        numbers = [node.attributes[name].as_ints() for name in node.attributes if name.endswith(("axes", "directions"))]
        is_plain = node.attributes["num_scan_inputs"].as_int() == len(self._steps) and not any(map(any, numbers))
        sizes = list(state.shape or ())
        if not is_plain or len(self._body.outputs) != 2 or len(sizes) != 4 or state.dtype != ir.DataType.FLOAT:
            raise _Differs
        self._sizes = [size if isinstance(size, int) else 0 for size in sizes]
        if 0 in self._sizes[1:]:
            raise _Differs
        self._same: list[int] = [0]  # by label: itself, or a label of the same axis
        self._reads = 0

    # How the body computes.

    def _label(self) -> int:
        self._same.append(len(self._same))
        return len(self._same) - 1

    def _find(self, label: int) -> int:
        while self._same[label] != label:
            label = self._same[label]
        return label

    def _joined(self, labels: Iterable[int]) -> int:
        """Return the label of axes that are aligned. Axes of size 1 don't count."""
        found = [self._find(label) for label in labels if label]
        for other in found[1:]:
            self._same[self._find(other)] = self._find(found[0])
        return found[0] if found else 0

    def _leaf(self, value: ir.Value, *, is_state: bool = False) -> _Sum:
        if value.shape is None:
            raise _Differs
        axes = tuple(self._label() if is_state or size != 1 else 0 for size in value.shape)
        return _Sum(axes, ((1, (_Factor(value, axes),)),))

    def _read(self, value: ir.Value | None, known: ir.Value | None = None) -> _Sum:
        """Read a value of the body as a sum of products. `known` is a further value that isn't read any deeper."""
        self._reads += 1
        node = None if value is None else value.producer()
        if value is None or self._reads > _MOST_READS:
            raise _Differs
        if value is known or value is self._body.inputs[0]:
            return self._leaf(value, is_state=True)
        if node is None or node.graph is not self._body or node.op_type in _OPAQUE:
            return self._leaf(value)
        if node.op_type in ("Unsqueeze", "Squeeze", "ReduceSum"):
            return self._reshaped(node, self._read(node.inputs[0], known))
        terms = [self._read(each, known) for each in node.inputs]
        axes, operator = [term.axes for term in terms], node.op_type
        if operator in ("Identity", "Neg"):
            return _Sum(axes[0], _signed(terms[0], -1 if operator == "Neg" else 1))
        if operator == "Transpose":
            return _Sum(tuple(axes[0][at] for at in node.attributes["perm"].as_ints()), terms[0].products)
        if operator in ("Add", "Sub"):
            aligned = self._aligned(axes)
            if any(len(each) != len(aligned) or 0 in each for each in axes):
                raise _Differs  # one is repeated along an axis
            return _Sum(aligned, terms[0].products + _signed(terms[1], -1 if operator == "Sub" else 1))
        if operator == "Mul":
            return _Sum(self._aligned(axes), _multiplied(terms))
        if operator == "MatMul" and min(map(len, axes)) > 1:
            self._joined((axes[0][-1], axes[1][-2]))
            return _Sum((*self._aligned([each[:-2] for each in axes]), axes[0][-2], axes[1][-1]), _multiplied(terms))
        if operator == "Einsum":
            return self._contracted(node.attributes["equation"].as_string().replace(" ", ""), terms)
        raise _Differs

    def _aligned(self, axes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        columns = itertools.zip_longest(*(reversed(each) for each in axes), fillvalue=0)
        return tuple(self._joined(column) for column in columns)[::-1]

    def _reshaped(self, node: ir.Node, term: _Sum) -> _Sum:
        given = integers_of(node.inputs[1]) if len(node.inputs) > 1 else None
        if not given:
            raise _Differs
        rank = len(term.axes) + (len(given) if node.op_type == "Unsqueeze" else 0)
        at = {axis % rank for axis in given}
        if node.op_type == "Unsqueeze":
            rest = iter(term.axes)
            return _Sum(tuple(0 if axis in at else next(rest) for axis in range(rank)), term.products)
        if node.op_type == "Squeeze" and any(term.axes[axis] for axis in at):
            raise _Differs
        keeps = node.op_type == "ReduceSum" and (
            "keepdims" not in node.attributes or node.attributes["keepdims"].as_int()
        )
        axes = [0 if axis in at else label for axis, label in enumerate(term.axes) if keeps or axis not in at]
        return _Sum(tuple(axes), term.products)

    def _contracted(self, equation: str, terms: Sequence[_Sum]) -> _Sum:
        taken, arrow, given = equation.partition("->")
        letters = taken.split(",")
        if not arrow or "." in equation or any(len(set(each)) != len(each) for each in (*letters, given)):
            raise _Differs
        labels: dict[str, list[int]] = {}
        for letter, label in zip("".join(letters), (label for term in terms for label in term.axes), strict=True):
            labels.setdefault(letter, []).append(label)
        joined = {letter: self._joined(each) for letter, each in labels.items()}
        return _Sum(tuple(joined[letter] for letter in given), _multiplied(terms))

    def _found(self, factors: Iterable[_Factor]) -> list[_Factor]:
        return [_Factor(each.value, tuple(map(self._find, each.axes))) for each in factors]

    # Comparing it with the formula.

    def replace(self) -> None:
        """Compare the body with the formula, and replace the Scan. Raises _Differs, and then changes no result."""
        state, (after, out) = self._body.inputs[0], self._body.outputs
        queried, update = self._read(out, after), self._read(after)
        for term in (queried, update):
            if any(sum(factor.value in (state, after) for factor in factors) > 1 for _, factors in term.products):
                raise _Differs
        if len(queried.products) != 1 or queried.products[0][0] < 0:
            raise _Differs
        reads, queries = _split(self._found(queried.products[0][1]), lambda each: each.value is after)
        if len(reads) != 1:
            raise _Differs
        read = reads[0]
        result = [self._find(label) for label in queried.axes]
        summed = [at for at, label in enumerate(read.axes) if label not in result]
        if summed not in ([2], [3]) or len(result) != 3 or {*read.axes} - {*result} != {read.axes[summed[0]]}:
            raise _Differs
        key, value = summed[0], 5 - summed[0]
        b, h, k, v = (self._find(update.axes[at]) for at in (0, 1, key, value))
        if len({b, h, k, v, 0}) != 5:
            raise _Differs
        keeps, writes, erases = self._terms(update, key)
        decays = [each for each in keeps if each.value is not state]
        keys, rest = _split(writes, lambda each: k in each.axes)
        beta, values = [], rest
        if erases:
            beta = self._beta(erases, keys, decays, k, key)
            values = list((Counter(rest) - Counter(beta)).elements())
            if not beta or Counter(beta) - Counter(rest) or any({*each.axes} - {b, h, 0} for each in beta):
                raise _Differs
        if len(decays) > 1 or any(v in each.axes for each in (*keys, *decays)):
            raise _Differs
        logarithms = [dataclasses.replace(each, value=self._logarithm(each.value)) for each in decays]
        given = [
            self._placed(queries, (read.axes[0], read.axes[1], read.axes[key]), key),
            self._placed(keys, (b, h, k), key),
            self._placed(values, (b, h, v), value),
            self._turned(self._node.inputs[0], key),
            self._placed(logarithms, (b, h, k) if any(k in each.axes for each in decays) else (b, h), key),
            self._placed(beta, (b, h), key),
        ]
        rule = {(0, 0): "linear", (1, 0): "gated", (0, 1): "delta", (1, 1): "gated_delta"}[bool(decays), bool(beta)]
        self._write(given, rule, [1, *({read.axes[0]: 0, read.axes[1]: 2}.get(label, 3) for label in result)], key)

    def _terms(self, update: _Sum, key: int) -> tuple[list[_Factor], list[_Factor], list[_Factor]]:
        """Return the factors of the state that is kept, of what is written, and of what the delta rule erases."""
        state, axes = self._body.inputs[0], tuple(map(self._find, update.axes))
        found: list[list[_Factor]] = [[], [], []]
        for sign, factors in update.products:
            each = self._found(factors)
            before = next((factor.axes for factor in each if factor.value is state), None)
            is_kept = before == axes
            kind = 1 if before is None else 0 if is_kept else 2
            if before is not None and not is_kept:
                others = [at for at in range(4) if before[at] != axes[at]]
                if others != [key] or before[key] in axes:
                    raise _Differs
            if found[kind] or sign != (-1 if kind == 2 else 1):
                raise _Differs
            found[kind] = each
        if not found[0] or not found[1]:
            raise _Differs
        return found[0], found[1], found[2]

    def _beta(
        self, erases: list[_Factor], keys: list[_Factor], decays: list[_Factor], k: int, key: int
    ) -> list[_Factor]:
        """Return the factors of an erased product besides the keys, the decayed state and the keys that query it."""
        (state,), others = _split(erases, lambda each: each.value is self._body.inputs[0])
        inner = state.axes[key]
        queried = [
            _Factor(each.value, tuple(inner if label == k else label for label in each.axes))
            for each in (*keys, *decays)
        ]
        left = Counter(others)
        left.subtract(Counter([*keys, *queried]))
        if any(count < 0 for count in left.values()):
            raise _Differs
        return list(left.elements())

    # Writing the operator.

    def _whole(self, value: ir.Value, rank: int) -> tuple[ir.Value, bool]:
        """Compute a body's value for all steps at once, with their axis in front, or as it is without one."""
        node = value.producer()
        if value is self._body.inputs[0]:
            raise _Differs  # a nonlinear function of the state
        if value in self._steps:
            outer = self._steps[value]
            assert outer is not None  # noqa: S101 - a Scan has all its inputs
            return outer, True
        if node is None or node.graph is not self._body:
            return value, False
        if node.op_type not in _ELEMENTWISE:
            raise _Differs
        found = []
        for each in node.inputs:
            if each is None or each.shape is None or len(each.shape) > rank:
                raise _Differs
            whole, has_steps = self._whole(each, len(each.shape))
            if has_steps and len(each.shape) != rank:
                raise _Differs
            found.append((whole, has_steps))
        made = self._nodes.add(ir.node(node.op_type, [whole for whole, _ in found], dict(node.attributes)))
        return made, any(has_steps for _, has_steps in found)

    def _logarithm(self, decay: ir.Value) -> ir.Value:
        """Return the argument of the exponential that a decay is, in the body or before the loop."""
        node = decay.producer()
        if node is not None and node.graph is self._body:
            argument = node.inputs[0]
            if node.op_type != "Exp":
                raise _Differs
            assert argument is not None  # noqa: S101 - an Exp has its input
            return argument
        outer = self._steps.get(decay)
        moved = None if outer is None else outer.producer()
        inner = moved.inputs[0] if moved is not None and moved.op_type == "Transpose" else None
        before = None if inner is None else inner.producer()
        if moved is None or before is None or before.op_type != "Exp":
            raise _Differs
        argument = ir.Value(name=f"{decay.name}/logarithm", shape=decay.shape, type=decay.type)
        self._steps[argument] = self._nodes.again(moved, before.inputs[0])
        return argument

    def _placed(self, factors: Sequence[_Factor], labels: tuple[int, ...], last: int) -> ir.Value | None:
        """Multiply factors for all steps, as (batch, sequence, heads * features) or (batch, sequence, heads)."""
        if not factors and len(labels) == 2:
            return None  # no decay, or no delta rule
        steps, product, seen = -1, None, set[int]()
        for factor in factors:
            value, has_steps = self._whole(factor.value, len(factor.axes))
            axes = (steps, *factor.axes) if has_steps else factor.axes
            wanted = [labels[0], steps, *labels[1:]]
            if {*axes} - {0, *wanted} or len({*axes} - {0}) + axes.count(0) != len(axes):
                raise _Differs
            if 0 in axes:
                value = self._made("Squeeze", value, [at for at, label in enumerate(axes) if not label])
                axes = tuple(label for label in axes if label)
            order = [axes.index(label) for label in wanted if label in axes]
            if order != sorted(order):
                value = self._nodes.add(ir.node("Transpose", [value], {"perm": order}))
            missing = [at for at, label in enumerate(wanted) if label not in axes]
            value = self._made("Unsqueeze", value, missing) if missing else value
            product = value if product is None else self._nodes.make("Mul", product, value)
            seen.update(axes)
        if product is None or {labels[0], steps, *labels[2:]} - seen:
            raise _Differs
        if labels[1] not in seen:  # all heads share it
            product = self._made("Expand", product, [1, 1, self._sizes[1], *[1] * (len(labels) - 2)])
        wide = self._sizes[1] * self._sizes[last]
        return self._made("Reshape", product, [0, 0, wide]) if len(labels) == 3 else product

    def _made(self, operator: str, value: ir.Value, numbers: list[int]) -> ir.Value:
        return self._nodes.make(operator, value, self._nodes.constant(numbers, ir.DataType.INT64))

    def _turned(self, state: ir.Value | None, key: int) -> ir.Value:
        """Exchange the axes of keys and values, if the module has them in the other order."""
        assert state is not None  # noqa: S101 - a Scan has all its inputs
        return state if key == 2 else self._nodes.add(ir.node("Transpose", [state], {"perm": [0, 1, 3, 2]}))

    def _write(self, given: list[ir.Value | None], rule: str, order: list[int], key: int) -> None:
        heads, node = self._sizes[1], self._node
        numbers: dict[str, int | float | str] = {
            "q_num_heads": heads,
            "kv_num_heads": heads,
            "update_rule": rule,
            "scale": 1.0,
        }
        made = ir.node(LINEAR_ATTENTION, given, numbers, domain=_DOMAIN, num_outputs=2, name=node.name)
        made.metadata_props.update(node.metadata_props)
        self._nodes.add(made)
        made.outputs[1].name = f"{node.outputs[0].name}/state"
        parted = self._made("Reshape", made.outputs[0], [0, 0, heads, self._sizes[5 - key]])
        moved = self._nodes.add(ir.node("Transpose", [parted], {"perm": order}))
        for old, new in zip(node.outputs, (self._turned(made.outputs[1], key), moved), strict=True):
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = f"{old.name}/replaced", old.name
        node.graph.remove(node, safe=True)  # type: ignore[union-attr] # it is in a graph


def _signed(term: _Sum, sign: int) -> tuple[tuple[int, tuple[_Factor, ...]], ...]:
    return tuple((sign * before, factors) for before, factors in term.products)


def _multiplied(terms: Sequence[_Sum]) -> tuple[tuple[int, tuple[_Factor, ...]], ...]:
    products: list[tuple[int, tuple[_Factor, ...]]] = [(1, ())]
    for term in terms:
        products = [(sign * s, (*factors, *f)) for sign, factors in products for s, f in term.products]
    return tuple(products)


def _split(factors: Sequence[_Factor], condition: Callable[[_Factor], bool]) -> tuple[list[_Factor], list[_Factor]]:
    return [each for each in factors if condition(each)], [each for each in factors if not condition(each)]
