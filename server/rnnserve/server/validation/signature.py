"""What a model takes and gives, and which requests may share a run.

The names of the dynamic axes decide how requests are joined. Along the axis named "batch" their rows follow one
another; every other dynamic axis is a sequence axis, along which rows are padded if the model may be padded.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from rnnserve.protos import protocol_words
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.validation.checked_request import Array

__all__ = ["Batching", "Signature", "TensorSpec"]


class Batching(enum.Enum):
    """Which requests may share a run."""

    PADDED = protocol_words.PADDED
    """Requests of any sizes: rows are padded to the longest."""
    JOINED = protocol_words.JOINED
    """Requests with equal sizes of all sequence axes."""
    ALONE = protocol_words.ALONE
    """None: each is run as it was sent, without a row that makes their number even."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        optional: Whether a request may leave the input out (`lengths`: every row has full length; states: zeros, or
            their default).
        default: What stands for an input that is left out, of size 1 along the axes whose size a request chooses; None
            for zeros and for lengths.
        derived: For an output, by axis whose size follows from that of an axis of the inputs: how.
        lengths_of: For an input that holds the lengths of rows, the sequence axis whose steps they count; else empty.
        high: For integers the first value that is too large, for floats the largest usual one; None for any.
        limits: By axis whose size a request chooses: the smallest and the largest size that the model takes, unless it
            takes any.
        must_be_finite: For a float input, whether NaN is refused even with --allow-non-finite: a recurrent operator
            would make finite numbers of it.
        may_be_infinite: For a float input or output, whether infinity passes though NaN does not: a state that begins
            with infinity.
        may_be_non_finite: For a float output, whether it may be NaN or infinite though the inputs are finite, and is
            refused then.
    """

    name: str  # as in the graph
    datatype: str  # the protocol's name, such as "FP32"
    axes: tuple[str, ...]  # name of each axis, outermost first: ("batch", "sequence", "features")
    sizes: tuple[int, ...]  # size of each axis, -1 if a request chooses it: (-1, -1, 2)
    optional: bool = False
    lengths_of: str = ""
    low: int | float | None = None  # the smallest value that an input takes; None for any, and for lengths 1
    high: int | float | None = None
    shortest: int = 1  # for lengths, the length of rows of padding: one that the model is known to take
    continues_as: str = ""  # for an output that is a final state, the input that continues from it; else empty
    zeros_after_lengths: bool = False  # for an output, whether it is zeros after each row's length
    limits: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict, hash=False)
    must_be_finite: bool = False
    may_be_infinite: bool = False
    may_be_non_finite: bool = False
    default: Array | None = dataclasses.field(default=None, compare=False)
    required_because: str = ""  # why a state or lengths may not be left out; empty if they may
    left_out_with: tuple[str, ...] = ()  # the inputs together with which it is left out, or none of them is
    derived: Mapping[str, DerivedSize] = dataclasses.field(default_factory=dict, hash=False)

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """The datatype as numpy's."""
        return DTYPES[self.datatype]

    @functools.cached_property
    def is_float(self) -> bool:
        """Whether its values are floating-point numbers."""
        return self.dtype.kind == "f"

    @functools.cached_property
    def bounds(self) -> tuple[int, int] | None:
        """The smallest integer that the input takes, and the first one that is too large; None for any, and floats."""
        if self.is_float or self.low is None or self.high is None:
            return None
        return int(self.low), int(self.high)

    @functools.cached_property
    def least_length(self) -> int:
        """For an input that holds lengths: the smallest that a request may send."""
        return int(self.low or 1)

    @functools.cached_property
    def filler(self) -> int:
        """The value of padding: 0, or the nearest that a required input takes; for lengths the shortest."""
        if self.lengths_of:
            return self.shortest
        if self.bounds is None or self.optional:
            return 0
        return min(max(0, self.bounds[0]), self.bounds[1] - 1)

    @functools.cached_property
    def batch_axis(self) -> int:
        """Where the batch axis is: 0 for `input`, 1 for `h_0`."""
        return self.axes.index(BATCH)

    @functools.cached_property
    def sequence_axes(self) -> Mapping[str, int]:
        """Where each sequence axis is, by name; of an axis that comes twice, as in weights of attention, the last."""
        return MappingProxyType({name: at for at, name in self._chosen if name not in self.derived})

    @functools.cached_property
    def sized_by(self) -> frozenset[str]:
        """The sequence axes of the inputs whose sizes set this tensor's shape."""
        return frozenset(self.derived[name].of if name in self.derived else name for _, name in self._chosen)

    @property
    def relates_steps(self) -> bool:
        """Whether a step of an output is none of one step of the input: an axis twice, or of another size."""
        return bool(self.derived) or len(self._chosen) > len(self.sequence_axes)

    @functools.cached_property
    def _chosen(self) -> tuple[tuple[int, str], ...]:
        """The axes whose sizes a request chooses, but the batch: where each is, and its name."""
        axes = enumerate(zip(self.axes, self.sizes, strict=True))
        return tuple((at, name) for at, (name, size) in axes if size < 0 and name != BATCH)

    def _size(self, name: str, sizes: Mapping[str, int]) -> int:
        """The size of an axis that a request chooses."""
        derived = self.derived.get(name)
        return sizes[name] if derived is None else derived.size(sizes[derived.of])

    @functools.cached_property
    def has_plain_rows(self) -> bool:
        """Whether a row is one block of bytes, whose first part is its first steps: (batch, sequence, …)."""
        return self.batch_axis == 0 and set(self.sequence_axes.values()) <= {1}

    def shape(self, batch: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for a batch and sizes of sequence axes: (batch, sequence, 2) for an `input` of 2 features."""
        shape = list(self.sizes)
        shape[self.batch_axis] = batch
        for at, name in self._chosen:
            shape[at] = self._size(name, sizes)
        return tuple(shape)

    def part(self, start: int, stop: int, sizes: Mapping[str, int]) -> tuple[slice, ...]:
        """Where the rows from `start` to `stop` are in an array, up to these sizes of the sequence axes."""
        index = [slice(None)] * len(self.axes)
        index[self.batch_axis] = slice(start, stop)
        for at, name in self._chosen:
            index[at] = slice(0, self._size(name, sizes))
        return tuple(index)

    @property
    def described_axes(self) -> str:
        """The axes with sizes that are fixed or limited: `(batch, sequence, features=2)`, `(batch, sequence=5..64)`."""
        limits = {axis: f"={low}..{high}" for axis, (low, high) in self.limits.items()}
        sized = (f"{a}{limits.get(a, '')}" if s < 0 else f"{a}={s}" for a, s in zip(self.axes, self.sizes, strict=True))
        return f"({', '.join(sized)})"

    def __str__(self) -> str:
        return f'"{self.name}" {self.datatype} {self.described_axes}'


@dataclasses.dataclass(frozen=True)
class Signature:
    """The tensors of a model by name, in the graph's order, and which requests may share a run."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    batching: Batching = Batching.PADDED

    @functools.cached_property
    def main(self) -> TensorSpec:
        """The input that sets the batch size: the first, if possible one that is required and has a sequence axis."""
        required = [spec for spec in self.inputs.values() if not spec.optional]
        return max(required or self.inputs.values(), key=lambda spec: bool(spec.sequence_axes))

    def batch_of(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """The size of the batch, from the shapes of the inputs that are there; 1 if all are left out."""
        for spec in (self.main, *self.inputs.values()):
            if spec.name in shapes:
                return shapes[spec.name][spec.batch_axis]
        return 1

    @functools.cached_property
    def sequence_axes(self) -> Mapping[str, TensorSpec]:
        """The sequence axes in the inputs' order, and for each the required input that sets its size."""
        sets: dict[str, TensorSpec] = {}
        for spec in self.inputs.values():
            for axis in () if spec.optional else spec.sequence_axes:
                sets.setdefault(axis, spec)
        return MappingProxyType(sets)

    @functools.cached_property
    def lengths(self) -> Mapping[str, TensorSpec]:
        """By sequence axis: the input that holds the lengths of rows along it."""
        return MappingProxyType({spec.lengths_of: spec for spec in self.inputs.values() if spec.lengths_of})

    @functools.cached_property
    def states(self) -> Mapping[str, TensorSpec]:
        """By initial state: the final state that continues as it."""
        return MappingProxyType({spec.continues_as: spec for spec in self.outputs.values() if spec.continues_as})

    @functools.cached_property
    def bounded_states(self) -> tuple[tuple[int, TensorSpec], ...]:
        """The initial states that take some integers only, each with its place among all: positions that run out."""
        return tuple((at, self.inputs[name]) for at, name in enumerate(self.states) if self.inputs[name].bounds)

    @functools.cached_property
    def left_out_together(self) -> tuple[TensorSpec, ...]:
        """The inputs that may be left out only together with others."""
        return tuple(spec for spec in self.inputs.values() if spec.left_out_with)

    @functools.cached_property
    def required_state(self) -> str:
        """An initial state that may not be left out, so that none is known to start with; empty if all may be."""
        return next((name for name in self.states if not self.inputs[name].optional), "")

    @property
    def is_padded(self) -> bool:
        """Whether rows of a run may be padded, and what follows a row's length may be left out."""
        return self.batching is Batching.PADDED

    @functools.cached_property
    def equal_axes(self) -> tuple[str, ...]:
        """The sequence axes along which requests that share a run have equal sizes: only the first may be padded."""
        return tuple(self.sequence_axes)[1 if self.is_padded else 0 :]

    def sizes_of(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The sizes of the sequence axes, from the shapes of the inputs."""
        return {axis: shapes[spec.name][spec.sequence_axes[axis]] for axis, spec in self.sequence_axes.items()}

    def longest(
        self, sizes: Mapping[str, int], arrays: Mapping[str, Array], outputs: Collection[str]
    ) -> Mapping[str, int]:
        """How many steps of each sequence axis a run of a request with these inputs and outputs needs.

        Steps after the longest length are left out if the model may be padded and the outputs are zeros there.
        """
        if not self.is_padded:
            return sizes
        longest = dict(sizes)
        for axis, spec in self.lengths.items():
            lengths = arrays.get(spec.name)
            if lengths is not None and axis not in self._kept_axes(outputs):
                longest[axis] = int(lengths.max())
        return longest

    def _kept_axes(self, outputs: Collection[str]) -> set[str]:
        """The sequence axes of which these outputs need every step that was sent."""
        kept: set[str] = set()
        for spec in [self.outputs[name] for name in outputs]:
            kept |= {d.of for d in spec.derived.values()} if spec.zeros_after_lengths else spec.sized_by
        return kept

    def with_shortest(self, shortest: Mapping[str, int]) -> "Signature":
        """The same tensors, with the lengths of rows of padding for these inputs by name."""
        inputs = {
            name: dataclasses.replace(spec, shortest=shortest[name]) if name in shortest else spec
            for name, spec in self.inputs.items()
        }
        return dataclasses.replace(self, inputs=inputs)

    @functools.cached_property
    def may_be_non_finite(self) -> frozenset[str]:
        """The outputs that may be NaN or infinite, and are refused then."""
        return frozenset(spec.name for spec in self.outputs.values() if spec.may_be_non_finite)

    def without_cuts(self) -> "Signature":
        """The same tensors, with outputs that need every step that was sent."""
        outputs = {name: dataclasses.replace(spec, zeros_after_lengths=False) for name, spec in self.outputs.items()}
        return dataclasses.replace(self, outputs=outputs)

    @functools.cached_property
    def _axes_within_axes(self) -> set[tuple[str, ...]]:
        """The sequence axes of each input that has several, as of words in sentences."""
        return {tuple(spec.sequence_axes) for spec in self.inputs.values() if len(spec.sequence_axes) > 1}

    def steps_of(self, sizes: Mapping[str, int]) -> int:
        """Steps of a row with these sizes, or 1: axes of separate inputs add up; those within one input multiply."""
        steps = sum(sizes.values()) or 1
        for axes in self._axes_within_axes:
            steps = max(steps, math.prod([sizes[axis] for axis in axes]))
        return steps

    def __str__(self) -> str:
        required = [str(spec) for spec in self.inputs.values() if not spec.optional]
        optional = [str(spec) for spec in self.inputs.values() if spec.optional]
        return " and ".join(required) + (f", optionally {', '.join(optional)}" if optional else "")
