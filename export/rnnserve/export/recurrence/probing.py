"""Whether a captured program is right for the sizes that the sample did not have.

A capture follows the sample's way through the module's Python code. What the code asks about sizes (`if
input.shape[1] > 3`) becomes a guard, which ONNX has no place for; and some operators do something else where an axis is
1 (`squeeze()`) without asking. So the module is run, on tensors without values, at sizes of one, at larger ones, and at
those that break a guard of the user's own code. Where eager refuses a size, nothing is lost; where it takes the size
but goes another way, the module is refused.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
import torch.fx.experimental.sym_node
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.axes import Axes, resize
from rnnserve.export.recurrence.dry import dry_run
from rnnserve.export.recurrence.kinds import Arguments
from rnnserve.export.recurrence.refusals import place, users_own

__all__ = ["probe", "symbols_of"]


def symbols_of(program: torch.export.ExportedProgram, axes: Axes) -> dict[sympy.Symbol, str]:
    """The symbols of the captured sizes, each with the name of its axis (the first, where it has several)."""
    symbols: dict[sympy.Symbol, str] = {}
    for value, names in zip(_inputs(program), axes.names, strict=True):
        for axis, name in names.items():
            size = value.shape[axis]
            if isinstance(node := getattr(size, "node", None), torch.fx.experimental.sym_node.SymNode):
                for expression in (node._expr, node.expr):  # noqa: SLF001 - before and after unification
                    if isinstance(expression, sympy.Symbol):
                        symbols.setdefault(expression, name)
    return symbols


def _inputs(program: torch.export.ExportedProgram) -> list[Tensor]:
    wanted = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    return [values[name] for name in wanted if isinstance(values.get(name), Tensor)]


def probe(module: nn.Module, args: Arguments, axes: Axes, program: torch.export.ExportedProgram) -> None:
    """Run the module at other sizes than the sample's and compare the way it goes.

    Raises:
        UnsupportedModule: it goes another way at some size.
    """
    if not axes.sizes:
        return
    symbols = symbols_of(program, axes)
    for sizes in _ordinary(axes):
        shapes = _run(module, args, axes, sizes)
        if shapes is not None:
            _compare(shapes, program, symbols, sizes)
    for guard, at in _guards(program):
        breaking = _breaking(guard, symbols, axes)
        if breaking is not None and _run(module, args, axes, breaking) is not None:
            raise UnsupportedModule(
                f"the module's code asks about sizes (at {at}), and goes another way at {_words(breaking)} than at the "
                "sample's sizes. An exported program goes one way for all sizes. Make the axis static, or write the "
                "forward without the question."
            )


def _ordinary(axes: Axes) -> Iterator[dict[str, int]]:
    for name in axes.sizes:
        yield {**axes.sizes, name: 1}
    yield {name: 2 * size + 1 + number for number, (name, size) in enumerate(axes.sizes.items())}


def _guards(program: torch.export.ExportedProgram) -> Iterator[tuple[sympy.Basic, str]]:
    """What the user's own code asked about sizes, and where."""
    values = _inputs(program)
    environment = getattr(getattr(values[0], "fake_mode", None), "shape_env", None) if values else None
    for guard in environment.guards if environment is not None else ():
        frame = guard.sloc.framework_loc
        if frame is not None and not isinstance(frame, str) and users_own(frame.filename):
            yield guard.expr, place(frame.filename, frame.lineno)


def _breaking(guard: sympy.Basic, symbols: Mapping[sympy.Symbol, str], axes: Axes) -> dict[str, int] | None:
    """Sizes at which the guard does not hold, if any are near the numbers that it mentions."""
    asked = [symbol for symbol in guard.free_symbols if symbol in symbols]
    if not asked or len(asked) != len(guard.free_symbols):
        return None
    names = sorted({symbols[symbol] for symbol in asked})
    constants = {int(number) for number in guard.atoms(sympy.Integer)}
    near = {1, 2, 3, 4, 5, *(size + d for size in axes.sizes.values() for d in (0, 1))}
    near |= {constant + d for constant in constants for d in (-1, 0, 1)}
    candidates = sorted(size for size in near if 1 <= size <= 1 << 20)
    for combination in itertools.islice(itertools.product(candidates, repeat=len(names)), 4096):
        sizes = dict(zip(names, combination, strict=True))
        if guard.subs({symbol: sizes[symbols[symbol]] for symbol in asked}) == sympy.false:
            return {**axes.sizes, **sizes}
    return None


def _run(module: nn.Module, args: Arguments, axes: Axes, sizes: Mapping[str, int]) -> list[tuple[Any, ...]] | None:
    """The shapes that the module gives at `sizes`, or None where it takes no such sizes."""
    resized = resize(args, axes, sizes)
    # Whatever a module raises at a size that it does not take, it is the module's answer: it refuses the size.
    with contextlib.suppress(Exception), dry_run(module, resized) as fakes:
        leaves = torch.utils._pytree.tree_leaves(module(*fakes))  # noqa: SLF001
        return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]
    return None


def _compare(
    shapes: list[tuple[Any, ...]],
    program: torch.export.ExportedProgram,
    symbols: Mapping[sympy.Symbol, str],
    sizes: Mapping[str, int],
) -> None:
    for number, (found, captured) in enumerate(zip(shapes, _outputs(program), strict=True)):
        at = {symbol: sizes[name] for symbol, name in symbols.items()}
        expected = tuple(size if isinstance(size, int) else size.node.expr.subs(at) for size in captured.shape)
        same = len(found) == len(expected) and all(
            not isinstance(one, int) or not isinstance(other, int | sympy.Integer) or one == int(other)
            for one, other in zip(found, expected, strict=True)
        )
        if not same:
            raise UnsupportedModule(
                f"at {_words(sizes)} the module's result {number} is {found}, and the captured program's is "
                f"{tuple(map(str, expected))}: the module treats this size as a special case, as squeeze() without an "
                "axis does. Name the axis: squeeze(0)."
            )


def _outputs(program: torch.export.ExportedProgram) -> list[Tensor]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    specs = program.graph_signature.output_specs
    results = [values.get(spec.arg.name) for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    return [value for value in results if isinstance(value, Tensor)]


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f'"{name}" {size}' for name, size in sizes.items())
