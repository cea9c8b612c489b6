"""The user's function with its loop as a scan, tried: it is exported if its values are the same, else shown."""

import ast
import dataclasses
import inspect
import linecache
import traceback
import types
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Arguments
from rnnserve.export.recurrence.capture import capture
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.loops.refused import LoopRefused
from rnnserve.export.recurrence.loops.rewriting import SourceFile
from rnnserve.export.recurrence.size_probing import Limits
from rnnserve.export.recurrence.written_scans.branches import Unwritten
from rnnserve.export.recurrence.written_scans.comparison import (
    results_at_sizes,
    results_of,
    same_results,
    sample_at,
)
from rnnserve.export.recurrence.written_scans.observed import observe
from rnnserve.export.recurrence.written_scans.writing import WrittenScan, written_scan
from rnnserve.export.source_lines import source_line

__all__ = ["Proposal", "as_scan"]

_Loops = Sequence[tuple[types.FunctionType, types.CodeType]]


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A user's function with its loop as a scan, which has been tried.

    Attributes:
        program: The module, captured with it.
        same_values: Whether it gives what the user's function gives; else its outputs go on after the loop would have
            ended.
        places: File and line of the function, and of others with such a loop.
        text: What a refusal shows.
    """

    program: torch.export.ExportedProgram
    same_values: bool
    places: tuple[str, ...]
    text: str


def as_scan(
    refused: UnsupportedModule,
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    sizes: Limits,
    loops: _Loops,
    written: Sequence[types.FunctionType] = (),
) -> Proposal | None:
    """Write the user's loop as a scan, and try it.

    Args:
        refused: Refusal of the module's capture.
        module: The module.
        args: Sample arguments.
        axes: Dynamic axes of the arguments.
        sizes: Sizes that the module takes, by axis.
        loops: The module's functions with loops, and their code as it was captured.
        written: Functions among them that have been written anew.

    Returns:
        None where no loop can be written as a scan that holds.
    """
    for function, line in _loops_of(refused, loops):
        found = None if function in written else _written(function, line, module, args, axes, sizes)
        again = None if found is None else _tried(found, function, module, args, axes, sizes)
        if found is None or again is None:
            continue
        kept = [*(pair for pair in loops if pair[0] is not function), (function, again)]
        program, further = _captured(module, args, axes, sizes, kept, [*written, function])
        if program is None:
            continue
        place = source_line(function.__code__.co_filename, function.__code__.co_firstlineno)
        values = (
            "it gives the same values, and can be exported"
            if found.same_values
            else "it can be exported, and its outputs have all steps: those after the loop would have ended are zeros"
        )
        text = (
            "The loop as a scan, which is a loop in eager and one operator in ONNX. In the place of "
            f"`{function.__qualname__}` ({place}) {values}:\n\n{_imports(function)}\n\n{found.text}"
        )
        return Proposal(program, found.same_values, (place, *further), text)
    return None


def _imports(function: types.FunctionType) -> str:
    has_torch = function.__globals__.get("torch") is torch
    return ("" if has_torch else "import torch\n") + "from rnnserve.export import scan\n"


def _loops_of(refused: UnsupportedModule, loops: _Loops) -> Iterator[tuple[types.FunctionType, int]]:
    """Give functions and lines of loops that a refusal may come from, the innermost first."""
    by_code = {id(each): function for function, code in loops for each in (code, function.__code__)}
    if isinstance(refused, LoopRefused):
        of_file = [each for each, _ in loops if each.__code__.co_filename == refused.site.file]
        yield from ((each, refused.site.line) for each in of_file)
        return
    cause: BaseException | None = refused
    seen: set[int] = set()  # a refusal that torch has wrapped is the cause of its own cause
    frames: list[tuple[types.FunctionType, int]] = []
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        walked = traceback.walk_tb(cause.__traceback__)
        frames += [(by_code[id(each.f_code)], line) for each, line in walked if id(each.f_code) in by_code]
        cause = cause.__cause__ or cause.__context__
    for function, line in reversed(frames):
        file = SourceFile.of(function)
        node = file.node(function) if file is not None else None
        around = [each for each in ast.walk(node) if isinstance(each, ast.For)] if node is not None else []
        inside = [each.lineno for each in around if each.lineno <= line <= (each.end_lineno or 0)]
        yield from ((function, each) for each in reversed(inside))


def _written(
    function: types.FunctionType, line: int, module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits
) -> WrittenScan | None:
    file = SourceFile.of(function)
    node = file.node(function) if file is not None else None
    loop = (
        next((each for each in ast.walk(node) if isinstance(each, ast.For) and each.lineno == line), None)
        if node
        else None
    )
    if node is None or loop is None:
        return None
    sample = sample_at(args, axes, sizes)
    seen = observe(function.__code__, line, lambda: results_of(module, sample))
    if seen is None:
        return None
    lines, _ = inspect.findsource(function)
    try:
        return written_scan(node, loop, lines, seen, function.__globals__)
    except (Unwritten, SyntaxError, ValueError, StopIteration):
        return None


def _tried(
    found: WrittenScan,
    function: types.FunctionType,
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    sizes: Limits,
) -> types.CodeType | None:
    """Compare a written function with the user's; give its code as it is captured, None where values differ."""
    plain, rewritten = _codes(found, function)
    if plain is None or rewritten is None:
        return None
    before = function.__code__
    expected = results_at_sizes(module, args, axes, sizes)
    try:
        function.__code__ = plain
        given = results_at_sizes(module, args, axes, sizes)
    except UnsupportedModule:
        return None
    finally:
        function.__code__ = before
    if expected is None or given is None:
        return None
    return rewritten if not found.same_values or same_results(expected, given) else None


def _captured(
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    sizes: Limits,
    loops: _Loops,
    written: Sequence[types.FunctionType],
) -> tuple[torch.export.ExportedProgram | None, tuple[str, ...]]:
    """Capture a module with what is written; where another of its loops is refused, with that one written, too."""
    try:
        return capture(module, args, axes, sizes, loops), ()
    except UnsupportedModule as refused:
        other = as_scan(refused, module, args, axes, sizes, loops, written)
        return (other.program, other.places) if other is not None and other.same_values else (None, ())
    except Exception:  # noqa: BLE001 - as above
        return None, ()


def _codes(found: WrittenScan, function: types.FunctionType) -> tuple[types.CodeType | None, types.CodeType | None]:
    """Compile a written function, as it is and as it is captured."""
    free = function.__code__.co_freevars
    body = ast.parse(found.text)
    definition = body.body[0]
    assert isinstance(definition, ast.FunctionDef)  # noqa: S101 - as it was written
    definition.decorator_list = []
    definition.body[:0] = ast.parse("import torch\nfrom rnnserve.export.recurrence.scan import scan").body
    text = ast.unparse(ast.fix_missing_locations(body))
    if free:
        given = ", ".join(free)
        text = f"def around({given}):\n" + "\n".join(f"    {line}" for line in text.splitlines())
    name = "<the loop as a scan>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    codes = [
        SourceFile(name, text).code_of(definition.name),
        SourceFile(name, text).rewritten_code(function, definition.name),
    ]
    plain, rewritten = (code if code is not None and code.co_freevars == free else None for code in codes)
    return plain, rewritten
