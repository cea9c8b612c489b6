"""The text of a function with one of its loops written as a scan."""

import ast
import dataclasses
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from rnnserve.export.recurrence.loops.names import loaded, read_before_written, stored
from rnnserve.export.recurrence.written_scans.branches import Branches, Unwritten
from rnnserve.export.recurrence.written_scans.observed import Observed
from rnnserve.export.recurrence.written_scans.step_reads import Numbers, Reads, evaluator, sequences_of
from rnnserve.export.recurrence.written_scans.step_reads import Sequence as OfSteps
from rnnserve.export.recurrence.written_scans.step_writes import Filled, Writes

__all__ = ["WrittenScan", "written_scan"]


@dataclasses.dataclass(frozen=True)
class WrittenScan:
    """A function with a loop as a scan.

    Attributes:
        text: Definition of the function.
        same_values: Whether it computes what the user's does; else, its outputs go on after the loop would have ended.
    """

    text: str
    same_values: bool


def written_scan(
    function: ast.FunctionDef, loop: ast.For, lines: Sequence[str], seen: Observed, of_file: Mapping[str, Any]
) -> WrittenScan:
    """Write a function with a loop of it as a scan.

    Args:
        function: Definition of the function.
        loop: Loop in it.
        lines: Lines of the file.
        seen: Variables as one run of the module has shown them.
        of_file: Global variables of the function.

    Raises:
        Unwritten: If the loop has what no scan has.
    """
    leaves = any(isinstance(node, ast.Break) for node in ast.walk(loop))
    scan = _Scan(function, loop, seen, of_file)
    text = textwrap.indent(scan.text(), " " * loop.col_offset)
    edits: list[_Edit] = [((loop.lineno, 0), (loop.end_lineno or loop.lineno, None), text), *scan.edits_after()]
    first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
    changed = _edited(lines, edits, first, function.end_lineno or first)
    return WrittenScan(textwrap.dedent(changed), same_values=not (leaves and scan.filled))


_Edit = tuple[tuple[int, int], tuple[int, int | None], str]


def _edited(lines: Sequence[str], edits: Iterable[_Edit], first: int, last: int) -> str:
    """Replace pieces of lines, each from (line, byte) to (line, byte), both of ast."""
    changed = [line.rstrip("\n").encode() for line in lines]
    for (line, column), (end_line, end_column), text in sorted(edits, key=lambda edit: edit[0], reverse=True):
        end = changed[end_line - 1]
        piece = changed[line - 1][:column] + text.encode() + (end[end_column:] if end_column is not None else b"")
        changed[line - 1 : end_line] = [piece, *[b"\0"] * (end_line - line)]
    return "\n".join(each.decode() for each in changed[first - 1 : last] if each != b"\0") + "\n"


class _Scan:
    """One loop, as it is written."""

    def __init__(self, function: ast.FunctionDef, loop: ast.For, seen: Observed, of_file: Mapping[str, Any]) -> None:
        self.function, self.seen = function, seen
        self.target, self.items, self.body = loop.target, loop.iter, list(loop.body)
        if loop.orelse or not seen.steps:
            raise Unwritten
        self.end = loop.end_lineno or loop.lineno
        self.evaluate = evaluator(seen.before, of_file)
        self.taken = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)} | set(of_file)
        self.branches = Branches(set(), set(seen.before), self.taken)
        self.again = read_before_written([ast.For(loop.target, ast.Tuple([], ast.Load()), loop.body, [])])
        self.changed = stored([loop.target, *loop.body]) | _changed_in_place(loop.body)
        self.sequences = sequences_of(self.target, self.items, self._is_list)
        numbers = [each for each in self.sequences if isinstance(each, Numbers)]
        self.numbers = numbers[0] if numbers else None
        self.number = next((each.target.id for each in numbers if isinstance(each.target, ast.Name)), "")
        self.filled: list[Filled] = []

    def text(self) -> str:
        """Write the loop, without indentation."""
        body, running = self.body, ""
        if any(isinstance(node, ast.Break) for node in ast.walk(ast.Module(body, []))):
            running = self.branches.fresh("running")
            body = [ast.If(ast.Name(running, ast.Load()), _until_break(body, running), [])]
        varying = set(self.changed) | {self.number}
        writes = Writes(self.number, self._is_list, varying, self.branches.fresh)
        body = writes.block(body)
        self.filled = writes.filled
        filled = {each.name for each in self.filled}
        counts = {name for name in self.changed if self.seen.is_number(name) and name in self.again}
        reads = Reads(self.numbers, counts, self.changed | filled, self.evaluate, self.branches.fresh)
        body = [reads.visit(node) for node in body]
        state = sorted(((self.again & self.changed) | (_changed_in_place(self.body) - filled)) - filled)
        lost = [name for name in state if name not in self.seen.before or self.seen.before[name] is None]
        if lost:
            raise Unwritten
        sequences = [*self.sequences, *reads.sequences]
        if self.number and not any(self.number in loaded([node]) for node in body) and len(sequences) > 1:
            sequences.remove(self.numbers)  # type: ignore[arg-type]  # there is one, since it has a name
        of_sequences = {name for each in sequences for name in stored([each.target])}
        self.branches.of_steps |= of_sequences | set(state) | {running} - {""}
        self.branches.known |= of_sequences | {running} - {""}
        written = self.branches.block(body)
        return self._put_together(written, [*([running] if running else []), *state], sequences, running)

    def _put_together(self, body: list[ast.stmt], state: list[str], sequences: list[OfSteps], running: str) -> str:
        step = self.branches.fresh("step")
        after = sorted((self._read_after() & stored([self.target, *self.body])) - set(state))
        ends = {name: self.branches.fresh(f"{name}_steps") for name in after}
        given = [*(each.step for each in self.filled), *after]
        if not set(after) <= {name for node in body for name in stored([node])} | set().union(
            *(stored([each.target]) for each in sequences)
        ):
            raise Unwritten
        begin = [ast.unparse(each.target) for each in sequences]
        initial = [self._initial(name, running) for name in state] or ["torch.zeros(())"]  # a scan has a state
        state = state or [self.branches.fresh("nothing")]
        of_state, of_steps = self._parameter(state, "state"), self._parameter(begin, "each")
        copies = [f"{name} = {kind}({name})" for name in state for kind in ("list", "dict") if self._is(name, kind)]
        copies += [
            f"{name} = {name}.clone()"
            for name in state
            if name in _changed_in_place(self.body) and self.seen.is_tensor(name)
        ]
        results = [*(each.name for each in self.filled), *ends.values()]
        lines = [
            "# From the state before a step, and what it reads, to the state after it, and what it gives.",
            f"def {step}({of_state[0]}, {of_steps[0]}):",
            *(f"    {line}" for line in [*of_state[1], *of_steps[1], *copies]),
            textwrap.indent(ast.unparse(ast.fix_missing_locations(ast.Module(body, []))), "    "),
            f"    return {_tuple(state)}, {_tuple(given)}",
            "",
        ]
        before = [f"{each.name}_before = {each.name}" for each in self.filled if self._begins(each)]
        call = f"scan({step}, {_tuple(initial)}, {_tuple([each.text for each in sequences])})"
        lines += [*before, f"{_target(state)}, {_target(results)} = {call}"]
        lines += [f"{name} = {whole}[-1]" for name, whole in ends.items()]
        return "\n".join([*lines, *(line for each in self.filled for line in self._filled(each))])

    def _filled(self, each: Filled) -> list[str]:
        """Write what gives a list or a tensor after the loop its form."""
        name = each.name
        if each.axis is None:
            lines = [f"{name} = {name}.flip(0)"] if each.at_front else []
            order = f"{name}, torch.stack({name}_before)" if each.at_front else f"torch.stack({name}_before), {name}"
            return lines + ([f"{name} = torch.cat(({order}))"] if self._begins(each) else [])
        descends = self.numbers is not None and self.numbers.descends
        whole = f"{name}.flip(0)" if descends else name
        axis = each.axis
        moved = whole if not axis else f"{whole}.transpose(0, 1)" if axis == 1 else f"{whole}.movedim(0, {axis})"
        if not self._begins(each):
            return [f"{name} = {moved}"] if moved != name else []
        assert self.numbers is not None  # noqa: S101 - a tensor is filled at its number
        index = ":, " * axis + f"{self.numbers.low}:{self.numbers.high}"
        return [f"{name}_before[{index}] = {moved}", f"{name} = {name}_before"]

    def _begins(self, each: Filled) -> bool:
        """Whether a list has items before the loop, or a tensor other steps than those that the loop fills."""
        before = self.seen.before.get(each.name)
        if each.axis is None:
            return bool(before)
        return not isinstance(before, torch.Tensor) or before.shape[each.axis] != self.seen.steps

    def edits_after(self) -> list[_Edit]:
        """Give what is to change after the loop: what was a list is a tensor, whose first axis is the steps."""
        lists = {each.name for each in self.filled if each.axis is None}
        edits = []
        for node in ast.walk(self.function):
            match node:
                case ast.Call(ast.Attribute(ast.Name("torch"), "stack" | "cat" as name), [ast.Name(of), *axis], words):
                    given = [*axis, *(word.value for word in words if word.arg in ("dim", "axis"))]
                    if of not in lists or node.lineno <= self.end:
                        continue
                    dim = int(ast.literal_eval(given[0])) if given else 0
                    edits.append((node, _joined(of, name, dim)))
        return [
            ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset), text)
            for node, text in edits
        ]

    def _read_after(self) -> set[str]:
        return {
            node.id
            for node in ast.walk(self.function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.lineno > self.end
        } - {each.name for each in self.filled}

    def _initial(self, name: str, running: str) -> str:
        if name == running:
            return "torch.tensor(True)"
        return f"torch.tensor({name})" if self.seen.is_number(name) else name

    def _parameter(self, names: list[str], together: str) -> tuple[str, list[str]]:
        """Give the name of a parameter, and the lines that take it apart."""
        if len(names) == 1 and names[0].isidentifier():
            return names[0], []
        name = self.branches.fresh(together)
        return name, [f"{', '.join(names)} = {name}"] if len(names) > 1 else [f"{each} = {name}" for each in names]

    def _is_list(self, name: str) -> bool:
        return self._is(name, "list") or self._is(name, "tuple")

    def _is(self, name: str, kind: str) -> bool:
        return type(self.seen.before.get(name)).__name__ == kind


def _joined(name: str, how: str, dim: int) -> str:
    moved = name if dim == 0 else f"{name}.transpose(0, 1)" if dim == 1 else f"{name}.movedim(0, {dim})"
    if how == "stack":
        return moved
    if dim < 0:
        moved = f"{name}.movedim(0, {dim - 1})"
        return f"{moved}.flatten({dim - 1}, {dim})"
    return f"{moved}.flatten({dim}, {dim + 1})"


def _until_break(statements: Sequence[ast.stmt], running: str) -> list[ast.stmt]:
    """Write `if condition: break` as a variable that says that the steps go on."""
    for at, node in enumerate(statements):
        if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Break):
            stop = ast.parse(f"{running} = torch.zeros_like({running})").body
            rest = _until_break([*node.orelse, *statements[at + 1 :]], running)
            return [*statements[:at], ast.If(node.test, [*node.body[:-1], *stop], rest)]
    return list(statements)


def _changed_in_place(statements: Sequence[ast.stmt]) -> set[str]:
    """Give the variables whose items some statements set."""
    targets = [
        target
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Assign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return {each.value.id for each in flat if isinstance(each, ast.Subscript) and isinstance(each.value, ast.Name)}


def _tuple(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _target(names: Sequence[str]) -> str:
    return _tuple(names) if names else "_"
