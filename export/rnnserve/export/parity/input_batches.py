"""The inputs that are compared: single steps, drawn sequences, given samples, at sizes unlike the exporter's."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from torch import nn

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.tensors import Arrays, draw_inputs, sizes_of
from rnnserve.protos.protocol_words import BATCH

__all__ = ["LENGTHS", "USUAL", "InputBatch", "groups_of", "input_batches", "is_large"]

USUAL = ("step", "random", "sample")
"""The kinds that `input_batches` gives."""

LENGTHS = (2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128)

_TOGETHER, _TOGETHER_OF_LARGE = 3, 12
"""Lengths that have all batch sizes together; the second for modules of many parameters."""
_LARGE = 1 << 20
"""Parameters of the smallest of these."""

_MOST_JUDGED = 16
"""Batches of extreme values that are judged together, so that memory holds their results: all ids may be thousands."""


@dataclasses.dataclass(frozen=True)
class InputBatch:
    """One batch of inputs.

    Attributes:
        kind: "step", "random" or "sample", as in a manifest's parity record; or a kind of extreme values.
        inputs: Arrays by name, in the order of forward. Values after a row's length are arbitrary.
        rows: The size of the batch axis.
        length: The size of the first sequence axis; 1 for a model without any.
    """

    kind: str
    inputs: Arrays
    rows: int
    length: int

    @property
    def is_usual(self) -> bool:
        """Whether its values are ordinary ones."""
        return self.kind in USUAL

    def __str__(self) -> str:
        return f"{self.kind} of batch {self.rows}, sequence {self.length}"


def input_batches(model: DescribedModel, seed: int) -> Iterator[InputBatch]:
    """Give every batch that is compared.

    Single steps of all batch sizes; sequences of each length, full and, where there are lengths, ragged; the given
    samples. All within the sizes that the model takes. Three lengths have all batch sizes together: 176 rows and more
    of each. Modules of 2**20 parameters and more compute as much in fewer rows: of these it is twelve lengths, two or
    three batches of each (docs/lab/findings.md, "What publishing costs").
    """
    random = np.random.default_rng(seed)
    axes = model.sequence_axes
    least, most = model.sizes[BATCH]
    batches = range(least, most + 1)
    if all(model.sizes[axis][0] <= 1 for axis in axes):
        for batch in batches:
            sizes = dict.fromkeys(axes, 1) | {BATCH: batch}
            yield InputBatch("step", draw_inputs(model.inputs, random, sizes), batch, 1)
    if axes:
        has_lengths = bool(model.lengths)
        by_axis = {axis: _lengths(*model.sizes[axis]) for axis in axes}
        lengths = max(map(len, by_axis.values()))
        together = _lengths_together(model, min(lengths, len(batches)))
        for number in range(lengths):
            # Several axes have lengths unlike each other.
            sizes = {axis: by_axis[axis][(number + 3 * at) % len(by_axis[axis])] for at, axis in enumerate(axes)}
            for position, batch in enumerate(batches[number % together :: together]):
                ragged = has_lengths and position % 3 > 0
                inputs = draw_inputs(model.inputs, random, sizes | {BATCH: batch}, ragged=ragged)
                yield InputBatch("random", inputs, batch, sizes[axes[0]])
    for sample in model.samples:
        sizes = sizes_of(model.inputs, sample)
        yield InputBatch("sample", sample, sizes[BATCH], sizes[axes[0]] if axes else 1)


def is_large(module: nn.Module) -> bool:
    """Whether a module has so many parameters that it computes less in a proof."""
    return sum(each.numel() for each in module.parameters()) >= _LARGE


def groups_of(batches: Iterable[InputBatch]) -> Iterator[list[InputBatch]]:
    """Put batches of one kind and length together."""
    groups: dict[tuple[str, int], list[InputBatch]] = {}
    for batch in batches:
        groups.setdefault((batch.kind, batch.length), []).append(batch)
    for group in groups.values():
        most = len(group) if group[0].is_usual else _MOST_JUDGED
        yield from (group[start : start + most] for start in range(0, len(group), most))


def _lengths_together(model: DescribedModel, most: int) -> int:
    """Give the number of lengths that have all batch sizes together; of a large model at most so many, or three."""
    return max(_TOGETHER, min(_TOGETHER_OF_LARGE, most)) if is_large(model.module) else _TOGETHER


def _lengths(least: int, most: int) -> list[int]:
    return [length for length in LENGTHS if least <= length <= most] or sorted({least, most})
