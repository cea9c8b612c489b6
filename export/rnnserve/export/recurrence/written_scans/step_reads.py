"""What a loop runs over, and what its steps read, as the sequences of a scan."""

import ast
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from rnnserve.export.recurrence.loops.names import loaded
from rnnserve.export.recurrence.written_scans.branches import Unwritten, parsed, text_of

__all__ = ["Numbers", "Reads", "Sequence", "evaluator", "sequences_of"]


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One sequence of a scan: a target of the loop, and the source of a tensor whose first axis is the steps."""

    target: ast.expr
    text: str


@dataclasses.dataclass(frozen=True)
class Numbers(Sequence):
    """The numbers of `range`: from `low` to `high`, that one excluded, or from the last to the first."""

    low: str
    high: str
    descends: bool


def sequences_of(target: ast.expr, items: ast.expr, is_list: Callable[[str], bool]) -> list[Sequence]:
    """Take apart what a loop runs over.

    Args:
        target: Target of the loop.
        items: Expression that it runs over.
        is_list: Function that tells whether a variable holds a list or a tuple.

    Raises:
        Unwritten: If it is none of the forms below.
    """
    match items, target:
        case ast.Call(ast.Name("enumerate"), [inner, *start]), ast.Tuple([number, each]):
            several = sequences_of(each, inner, is_list)
            count = f"{several[0].text}.size(0)"
            if start:
                first = text_of(start[0])
                return [Numbers(number, f"torch.arange({count}) + {first}", first, count, False), *several]
            return [Numbers(number, f"torch.arange({count})", "0", count, False), *several]
        case ast.Call(ast.Name("zip"), parts), ast.Tuple(targets) if len(parts) == len(targets):
            return [each for pair in zip(targets, parts, strict=True) for each in sequences_of(*pair, is_list)]
        case ast.Call(ast.Name("range"), bounds), ast.Name():
            return [_numbers(target, [text_of(bound) for bound in bounds])]
        case (ast.Call(ast.Name("reversed"), [inner]), _) | (
            ast.Subscript(inner, ast.Slice(None, None, ast.UnaryOp(ast.USub(), ast.Constant(1)))),
            _,
        ):
            return [_reversed(each) for each in sequences_of(target, inner, is_list)]
        case (ast.Call(ast.Attribute(ast.Name("torch"), "unbind"), [tensor, *axis], words), _) | (
            ast.Call(ast.Attribute(tensor, "unbind"), axis, words),
            _,
        ):
            return [Sequence(target, _steps_first(text_of(tensor), _axis(axis, words)))]
        case ast.Call(ast.Attribute(tensor, "split" | "chunk"), [_, *axis], words), _:
            dim = _axis(axis, words)
            return [Sequence(target, f"{_steps_first(text_of(tensor), dim)}.unsqueeze({dim + 1})")]
        case ast.Name(name), _ if is_list(name):
            return [Sequence(target, f"torch.stack({name})")]
        case (ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call(), _):
            return [Sequence(target, text_of(items))]
    raise Unwritten


def _axis(axis: list[ast.expr], words: list[ast.keyword]) -> int:
    given = [*axis, *(word.value for word in words if word.arg == "dim")]
    if not given:
        return 0
    if not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, int):
        raise Unwritten
    return given[0].value


def _steps_first(tensor: str, dim: int) -> str:
    return f"{tensor}.transpose(0, 1)" if dim == 1 else f"{tensor}.movedim({dim}, 0)" if dim else tensor


def _numbers(target: ast.expr, bounds: list[str]) -> Numbers:
    start, stop, step = ["0", bounds[0], "1"] if len(bounds) == 1 else [*bounds, "1"][:3]
    if step == "-1":
        low, high = ("0" if stop == "-1" else f"{stop} + 1"), _plus_one(start)
        return Numbers(target, f"torch.arange({low}, {high}).flip(0)", low, high, True)
    if step != "1":
        return Numbers(target, f"torch.arange({start}, {stop}, {step})", start, "", False)
    text = f"torch.arange({stop})" if start == "0" else f"torch.arange({start}, {stop})"
    return Numbers(target, text, start, stop, False)


def _plus_one(text: str) -> str:
    return text.removesuffix(" - 1") if text.endswith(" - 1") else f"{text} + 1"


def _reversed(each: Sequence) -> Sequence:
    text = f"{each.text}.flip(0)"
    if isinstance(each, Numbers):
        return Numbers(each.target, text, each.low, each.high, not each.descends)
    return Sequence(each.target, text)


class Reads(ast.NodeTransformer):
    """Writes what a body reads at the number of the step: a sequence more, or an index that is a tensor.

    Args:
        numbers: Numbers of the steps; None where the loop has none.
        counts: Other variables that are numbers, and tensors in a scan.
        changed: Names that the body changes: what is read of them is no sequence.
        evaluated: Function that gives the value of an expression before the loop.
        fresh: Function that gives a name that is new.

    Attributes:
        sequences: Those that were added.
    """

    def __init__(
        self,
        numbers: Numbers | None,
        counts: set[str],
        changed: set[str],
        evaluated: Callable[[str], Any],
        fresh: Callable[[str], str],
    ) -> None:
        self.numbers, self.changed, self.evaluated, self.fresh = numbers, changed, evaluated, fresh
        self.number = numbers.target.id if numbers is not None and isinstance(numbers.target, ast.Name) else ""
        self.counts = counts | {self.number} - {""}
        self.sequences: list[Sequence] = []
        self._known: dict[str, str] = {}

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Write an index."""
        self.generic_visit(node)
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        at = [number for number, part in enumerate(parts) if loaded([part]) & self.counts]
        if not at or not isinstance(node.ctx, ast.Load):
            return node
        if len(at) > 1 or any(_is_ellipsis(part) for part in parts[: at[0]]):
            raise Unwritten
        axis, part = at[0], parts[at[0]]
        rest = [*parts[:axis], *parts[axis + 1 :]]
        tensor = text_of(node.value)
        if isinstance(part, ast.Name) and part.id == self.number and self._is_whole(node.value, tensor):
            step = self._sequence(tensor, axis)
        elif isinstance(part, ast.Slice):
            step, rest = self._slice(tensor, axis, part), [*parts[:axis], ast.Slice(), *parts[axis + 1 :]]
        else:
            index = f"({text_of(part)})" if not isinstance(part, ast.Name) else part.id
            step = f"{tensor}.index_select({axis}, {index}.reshape(1) % {tensor}.size({axis})).squeeze({axis})"
        if all(_is_ellipsis(each) or (isinstance(each, ast.Slice) and text_of(each) == ":") for each in rest):
            return parsed(step)
        return ast.Subscript(parsed(step), rest[0] if len(rest) == 1 else ast.Tuple(rest, ast.Load()), ast.Load())

    def _is_whole(self, node: ast.expr, tensor: str) -> bool:
        known = self.numbers is not None and bool(self.numbers.high) and not loaded([node]) & self.changed
        return known and isinstance(self.evaluated(tensor), Tensor)

    def _sequence(self, tensor: str, axis: int) -> str:
        """Give the name of a step of a tensor."""
        numbers = self.numbers
        assert numbers is not None  # noqa: S101 - as `_is_whole` has found
        key = f"{tensor} {axis}"
        if key not in self._known:
            whole = _steps_first(tensor, axis)
            if numbers.low != "0" or self.evaluated(numbers.high) != self.evaluated(f"{tensor}.shape[{axis}]"):
                whole = f"{whole}[{numbers.low if numbers.low != '0' else ''}:{numbers.high}]"
            name = self.fresh(
                "".join(each if each.isalnum() else "_" for each in tensor).strip("_") + f"_{self.number}"
            )
            self._known[key] = name
            self.sequences.append(
                Sequence(ast.Name(name, ast.Store()), f"{whole}.flip(0)" if numbers.descends else whole)
            )
        return self._known[key]

    def _slice(self, tensor: str, axis: int, part: ast.Slice) -> str:
        lower, upper = part.lower, part.upper
        if part.step is not None or upper is None:
            raise Unwritten
        if lower is not None and text_of(upper) == f"{text_of(lower)} + 1":
            return f"{tensor}.index_select({axis}, ({text_of(lower)}).reshape(1) % {tensor}.size({axis}))"
        value = self.evaluated(tensor)
        if lower is not None or not isinstance(value, Tensor):
            raise Unwritten
        shape = ", ".join("-1" if each == axis else "1" for each in range(value.dim()))
        inside = f"(torch.arange({tensor}.size({axis})) < {text_of(upper)}).reshape({shape})"
        return f"torch.where({inside}, {tensor}, torch.zeros_like({tensor}))"


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def evaluator(names: Mapping[str, Any], of_file: Mapping[str, Any]) -> Callable[[str], Any]:
    """Give what evaluates an expression; None for what cannot be evaluated."""

    def evaluate(text: str) -> Any:  # noqa: ANN401
        try:
            return eval(text, dict(of_file), dict(names))  # noqa: S307 - an expression of the module that was run
        except Exception:  # noqa: BLE001 - it names what is set in the loop only
            return None

    return evaluate
