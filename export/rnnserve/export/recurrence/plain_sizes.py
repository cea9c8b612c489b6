"""Sizes that code makes plain numbers, `int(n)` as a key of a table of its own, found again where they are used.

einx, say, compiles a function for each shape, with the sizes in its text: a capture can follow none of them. So such a
module is captured at sizes that nothing else in it has, and a number of these that it passes to a function of torch is
that size, times a constant at most. At two sets of such sizes the programs have to be the same; what the code does with
a size otherwise, a branch or a sum, makes them differ, and the module is refused as before.
Values are compared at sizes that are smaller and larger than these.
"""

import contextlib
import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Final

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.capture import capture
from rnnserve.export.recurrence.capture_session import numbers_made
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes, resize
from rnnserve.export.recurrence.size_probing import Limits, within
from rnnserve.export.source_lines import is_users_code
from rnnserve.protos.protocol_words import BATCH

__all__ = ["capture_of_plain_sizes", "compared_sizes"]

_SMALLEST: Final = ((31, 61), (67, 211))  # of the batch, and of other axes: primes from these on
_MOST_VALUES: Final = 50_000_000  # of the arguments together, at such sizes
_TIMES: Final = 4096  # of a size that a number may be
_COMPARED: Final = ((1, 1), (2, 3), (1, 70), (5, 2999))  # of the batch, and of other axes: values at these


def capture_of_plain_sizes(
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    limits: Limits,
    loops: Sequence[tuple[FunctionType, CodeType]] = (),
) -> torch.export.ExportedProgram | None:
    """Capture a module whose code makes plain numbers of sizes; None where that gives no program for all sizes.

    Args:
        module: Module as for `capture`.
        args: The sample arguments.
        axes: Dynamic axes of the arguments.
        limits: Sizes that the module takes.
        loops: Functions with the code to run in the place of theirs.
    """
    programs = []
    taken = _numbers_of(module, args)
    for batch, others in _SMALLEST:
        sizes = _telling_sizes(axes, batch, others, taken)
        if not _are_taken(sizes, limits) or _values(args, axes, sizes) > _MOST_VALUES:
            return None
        resized = resize(args, axes, sizes)
        own = DynamicAxes(axes.names, sizes, axes.labels, axes.shapes)
        try:
            with _numbers_given(set(sizes.values())) as given:
                program = capture(module, resized, own, limits, loops, inside=lambda: _FoundAgain(given))
        except UnsupportedModule:  # at the smaller sizes: the larger ones, where a loop has as many steps, cost more
            return None
        programs.append(program)
    return programs[0] if len({program.graph_module.code for program in programs}) == 1 else None


def compared_sizes(axes: DynamicAxes, limits: Limits) -> list[dict[str, int]]:
    """Give sizes at which such a program has to give the module's values, each axis as far as the module takes it."""
    return [
        {name: within(batch if name == BATCH else others + at, name, limits) for at, name in enumerate(axes.sizes)}
        for batch, others in _COMPARED
    ]


def _telling_sizes(axes: DynamicAxes, batch: int, others: int, taken: frozenset[int]) -> dict[str, int]:
    """Choose a prime for each axis of which no number of the module's own is a multiple."""
    sizes: dict[str, int] = {}
    for name in axes.sizes:
        primes = (int(sympy.nextprime(number)) for number in itertools.count(batch if name == BATCH else others))
        free = (each for each in primes if each not in sizes.values() and all(number % each for number in taken))
        sizes[name] = next(free)
    return sizes


def _numbers_of(module: nn.Module, args: Arguments) -> frozenset[int]:
    """Give the sizes of a module's weights and of its arguments' axes, and its attributes that are numbers."""
    tensors = [each for each in torch.utils._pytree.tree_leaves(args) if isinstance(each, torch.Tensor)]  # noqa: SLF001
    held = [*module.parameters(), *module.buffers(), *tensors]
    attributes = (value for each in module.modules() for value in each.__dict__.values())
    return frozenset(
        abs(number)
        for number in (*(size for each in held for size in each.shape), *attributes)
        if type(number) is int and number
    )


def _are_taken(sizes: Mapping[str, int], limits: Limits) -> bool:
    within = [(size, *limits.get(name, (1, None))) for name, size in sizes.items()]
    return all(low <= size and (high is None or size <= high) for size, low, high in within)


def _values(args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> int:
    tensors = [each for each in torch.utils._pytree.tree_leaves(args) if isinstance(each, torch.Tensor)]  # noqa: SLF001
    return sum(
        math.prod(sizes[names[axis]] if axis in names else size for axis, size in enumerate(tensor.shape))
        for tensor, names in zip(tensors, axes.names, strict=True)
    )


@contextlib.contextmanager
def _numbers_given(telling: set[int]) -> Iterator[dict[int, torch.SymInt]]:
    """Let the user's code make plain numbers of the sizes of axes, in this thread; what it was given is noted."""
    given: dict[int, torch.SymInt] = {}
    before, thread = torch.SymInt.__int__, threading.get_ident()

    def number_of(size: torch.SymInt) -> int | None:
        number = size.node.hint
        if number not in telling or not isinstance(size.node.expr, sympy.Symbol):
            return None
        given.setdefault(int(number), size)
        return int(number)

    def as_number(size: torch.SymInt) -> int:
        by_user = threading.get_ident() == thread and is_users_code(sys._getframe(1).f_code.co_filename)  # noqa: SLF001
        number = number_of(size) if by_user else None
        return before(size) if number is None else number  # type: ignore[no-untyped-call]

    torch.SymInt.__int__ = as_number  # type: ignore[method-assign]
    try:
        with numbers_made(number_of):
            yield given
    finally:
        torch.SymInt.__int__ = before  # type: ignore[method-assign]


class _FoundAgain(TorchFunctionMode):
    """Puts sizes in the place of the numbers that were made of them, among the arguments of torch's functions.

    Args:
        given: The numbers, with their sizes.
    """

    def __init__(self, given: Mapping[int, torch.SymInt]) -> None:
        super().__init__()
        self._given = given

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` with sizes in the place of numbers."""
        del types
        if not self._given:
            return func(*args, **(kwargs or {}))
        args, kwargs = torch.utils._pytree.tree_map(self._found, (tuple(args), kwargs or {}))  # noqa: SLF001
        return func(*args, **kwargs)

    def _found(self, value: Argument) -> Argument:
        if isinstance(value, torch.Size):
            return tuple(map(self._found, value))
        if isinstance(value, slice):
            return slice(*map(self._found, (value.start, value.stop, value.step)))
        if type(value) is not int or value < min(self._given):
            return value
        times: int = value
        size: int | torch.SymInt = 1
        for number, symbol in self._given.items():
            while times % number == 0:
                times, size = times // number, size * symbol
        return size * times if times < _TIMES and not isinstance(size, int) else value
