"""Finding conditions on the length alone, `if x.size(1) > 256:`, which captures at a few lengths have one side of.

The module runs once with numbers in the place of sizes that remember how they follow from the length. A line that asks
the same of them each time that it runs, with an answer that changes at another length, is a condition on the length; a
condition of a loop, such as `t < length`, asks something else each time.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.source_lines import is_users_code, source_line

__all__ = ["Condition", "conditions_on"]

_FIRST_CANDIDATES = range(1, 66)
_CANDIDATES = (*_FIRST_CANDIDATES, *(each + more for each in (100, 128, 256, 300, 500, 512, 1000) for more in (0, 1)))
_FAR_CANDIDATES = tuple(each + more for each in (1024, 1500, 2000, 2048, 4096, 5000, 10_000, 65_536) for more in (0, 1))


class Condition(NamedTuple):
    """A line whose answer changes with the length.

    Attributes:
        line: The line, " (at file.py:12)".
        lengths: Lengths at which the answer is another one: the smallest, and the largest that can be tried.
    """

    line: str
    lengths: tuple[int, ...]


def conditions_on(module: nn.Module, args: Any, length: int, usual: int) -> list[Condition]:  # noqa: ANN401 - the module's
    """Run a module, and give its conditions on the length alone; none where it fails."""
    asked: dict[tuple[str, int, int], list[Callable[[int], bool]]] = {}
    with contextlib.suppress(Exception), torch.no_grad(), _Sizes(length, asked):
        module(*args)
    return [
        Condition(f" (at {source_line(file, line)})", lengths)
        for (file, line, _), questions in asked.items()
        if (lengths := tuple(_lengths_of_others(questions, usual)))
    ]


def _lengths_of_others(questions: list[Callable[[int], bool]], usual: int) -> Iterator[int]:
    """Give the lengths at which all questions of a line, if they are the same, have another answer."""
    answers = {tuple(_answer(each, at) for at in (*_CANDIDATES, *_FAR_CANDIDATES)) for each in questions[:64]}
    if len(answers) > 1:
        return
    here = _answer(questions[0], usual)
    found = [at for at in (*_CANDIDATES, *_FAR_CANDIDATES) if _answer(questions[0], at) not in (here, None)]
    near = [at for at in found if at in _CANDIDATES]
    yield from sorted({*found[:1], *near[-1:]})


def _answer(question: Callable[[int], bool], length: int) -> bool | None:
    try:
        return bool(question(length))
    except ArithmeticError:
        return None


class _Size(int):
    """A size that follows from the length.

    Attributes:
        of: Computes it from a length.
        asked: By file, line and instruction, what was asked there of such sizes.
    """

    of: Callable[[int], Any]
    asked: dict[tuple[str, int, int], list[Callable[[int], bool]]]


def _size(value: int, of: Callable[[int], Any], asked: Any) -> _Size:  # noqa: ANN401 - as of _Size
    size = _Size(value)
    size.of, size.asked = of, asked
    return size


def _computing(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(int, name)

    def compute(self: _Size, other: Any) -> Any:  # noqa: ANN401 - any number
        value = plain(self, other)
        if type(value) is not int:
            return value
        at = other.of if isinstance(other, _Size) else lambda _: other
        return _size(value, lambda length: plain(int(self.of(length)), int(at(length))), self.asked)

    return compute


def _asking(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(int, name)

    def ask(self: _Size, other: Any) -> Any:  # noqa: ANN401 - any number
        answer = plain(self, other)
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to see who calls
        file = frame.f_code.co_filename
        if type(answer) is bool and is_users_code(file):
            at = other.of if isinstance(other, _Size) else lambda _: other
            question = lambda length: plain(int(self.of(length)), int(at(length)))  # noqa: E731
            self.asked.setdefault((file, frame.f_lineno, frame.f_lasti), []).append(question)
        return answer

    return ask


_ARITHMETIC = ("add", "sub", "mul", "floordiv", "mod", "radd", "rsub", "rmul", "rfloordiv", "rmod")
for _name in _ARITHMETIC:
    setattr(_Size, f"__{_name}__", _computing(f"__{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(_Size, f"__{_name}__", _asking(f"__{_name}__"))
_Size.__hash__ = int.__hash__  # type: ignore[method-assign]

_RELATED: tuple[Callable[[int], int], ...] = (
    lambda length: length,
    lambda length: length - 1,
    lambda length: length + 1,
    lambda length: 2 * length,
    lambda length: length // 2,
    lambda length: (length + 1) // 2,
)
"""Sizes that are taken to follow from the length."""


class _Sizes(TorchFunctionMode):
    """Gives sizes that remember the length."""

    def __init__(self, length: int, asked: Any) -> None:  # noqa: ANN401 - as of _Size
        super().__init__()
        self._of = {each(length): each for each in reversed(_RELATED)}
        self._asked = asked

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run `func`."""
        del types
        result = func(*args, **(kwargs or {}))
        if func in (Tensor.shape.__get__, Tensor.size):  # type: ignore[attr-defined]  # of C
            if isinstance(result, torch.Size):
                return torch.Size([self._remembering(each) for each in result])
            return self._remembering(result)
        return result

    def _remembering(self, size: int) -> int:
        of = self._of.get(size)
        return size if of is None else _size(size, of, self._asked)
