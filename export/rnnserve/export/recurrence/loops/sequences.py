"""The sequences of one captured loop: tensors of which each step reads its part, at a number `a * k + b`."""

import dataclasses

import torch
from torch import Tensor

from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_number import StepsOwner
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, difference, same_size

__all__ = ["Sequences"]


@dataclasses.dataclass(frozen=True)
class _Sequence:
    """A tensor that is read along one axis; None for the number of the step itself."""

    tensor: Tensor | None
    dim: int
    scale: int
    offset: Size


class Sequences:
    """What a loop's body has read so far at the number of the step.

    Args:
        loop: The loop.

    Attributes:
        found: Whether a run has read one that was not known when it began.
    """

    def __init__(self, loop: StepsOwner) -> None:
        self.found = False
        self._loop = loop
        self._all: dict[tuple[int, int, int, str], _Sequence] = {}
        self._steps: dict[tuple[int, int, int, str], Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def reverse(self) -> bool:
        """Whether the scan begins at the end of its sequences."""
        return next(
            (each.scale == -1 for each in self._all.values() if each.tensor is not None and abs(each.scale) == 1), False
        )

    def number(self) -> Tensor:
        """Give the number of the step, (), int64."""
        return self._step((0, 0, 1, "0"), _Sequence(None, 0, 1, 0))

    def step(self, tensor: Tensor, dim: int, index: StepIndex) -> Tensor:
        """Give one step of a tensor."""
        first = difference(index.at(self._loop.first), 0)
        if first is not None and first < 0:
            if self._loop.first:
                self._loop.refuse("it reads before the first step of a tensor")
            self._loop.run_first_step_apart()  # where -1 is the last one
        return self._step(
            (id(tensor), dim, index.scale, str(index.offset)), _Sequence(tensor, dim, index.scale, index.offset)
        )

    def tensors(self) -> list[Tensor]:
        """Give what a scan is over, (steps, …) each."""
        return [self._whole(each) for each in self._all.values()]

    def begin(self, of_step: list[Tensor]) -> None:
        """Set the step of each."""
        self._steps = dict(zip(self._all, of_step, strict=True))
        self.found = False

    def of_step(self) -> list[Tensor]:
        """Give the step of each that is known."""
        return list(self._steps.values())

    def _step(self, key: tuple[int, int, int, str], sequence: _Sequence) -> Tensor:
        if key not in self._steps:
            self.found = True
            self._all[key] = sequence
            tensor = _numbers(0, self._loop.count) if sequence.tensor is None else sequence.tensor
            self._steps[key] = tensor.select(sequence.dim, 0)
        return self._steps[key]

    def _whole(self, sequence: _Sequence) -> Tensor:
        loop = self._loop
        if sequence.tensor is None:
            numbers = _numbers(loop.lowest, loop.count)
            return numbers.flip(0) if self.reverse else numbers
        length = loop.count - loop.lowest
        if abs(sequence.scale) != 1:
            return self._strided(sequence)
        whole = sequence.tensor.movedim(sequence.dim, 0)
        if sequence.scale > 0:
            start = sequence.offset + loop.lowest
            room = difference(start, 0)
        else:
            start = sequence.offset - (loop.count - 1)
            room = difference(whole.shape[0], start + length)
        if loop.skips and (
            room is None or room < 0
        ):  # the step that is left out reads before the first, or after the last
            nothing = whole.new_zeros((1, *whole.shape[1:]))
            if sequence.scale > 0:
                whole = torch.cat([nothing, _part(whole, start + 1, length - 1)])
            else:
                whole = torch.cat([_part(whole, start, length - 1), nothing])
        else:
            whole = _part(whole, start, length)
        return whole.flip(0) if (sequence.scale < 0) != self.reverse else whole

    def _strided(self, sequence: _Sequence) -> Tensor:
        """Give steps that are apart from each other, in the order of the loop."""
        assert sequence.tensor is not None  # noqa: S101 - numbers count by 1
        whole = sequence.tensor.movedim(sequence.dim, 0)
        at: Tensor = _numbers(self._loop.first, self._loop.count) * sequence.scale + sequence.offset  # type: ignore[assignment]
        whole = whole.index_select(0, at)
        if self._loop.skips:
            whole = torch.cat([whole.new_zeros((1, *whole.shape[1:])), whole])
        return whole.flip(0) if self.reverse else whole


def _part(whole: Tensor, start: Size, length: Size) -> Tensor:
    if difference(start, 0) == 0 and same_size(whole.shape[0], length):
        return whole
    return whole.narrow(0, start, length)


def _numbers(first: int, count: Size) -> Tensor:
    return torch.arange(first, count)  # type: ignore[arg-type]  # takes symbols, too
