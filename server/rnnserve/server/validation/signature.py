"""A model's inputs and outputs, which requests may share a run, and a request that has been checked against them.

The names of the dynamic axes decide how to batch requests. Rows are concatenated along the axis named "batch". Every
other dynamic axis is a sequence axis, along which rows are padded if the model permits padding.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnserve.protos import protocol_words
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.inference_pb2 import ModelInferResponse
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Array", "Batching", "CheckedRequest", "SequenceControl", "Signature", "TensorSpec"]

Array = npt.NDArray[Any]


class Batching(enum.Enum):
    """Which requests may share a run."""

    PADDED = protocol_words.PADDED
    """Requests of any sizes: rows are padded to the longest."""
    JOINED = protocol_words.JOINED
    """Requests with equal sizes of all sequence axes (equal-length)."""
    ALONE = protocol_words.ALONE
    """No requests (unbatched): each runs as it was sent, without padding to an even batch size."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        optional: Whether a request may leave the input out. Then `lengths` are full lengths, and states are zeros or
            their default.
        default: Value of an omitted input, with size 1 along dynamic axes. None for zeros and for lengths.
        derived: For an output, the rule for each axis whose size is computed from an input axis.
        lengths_of: For an input with the lengths of rows, the sequence axis whose steps they count. Empty for other
            inputs.
        high: For integers the exclusive upper bound, for floats the largest usual value. None for any.
        limits: The smallest and largest size for each dynamic axis with limits.
        must_be_finite: For a float input, whether NaN is refused even with --allow-non-finite, because a recurrent
            operator would turn it into finite numbers.
        may_be_infinite: For a float input or output, whether infinity is allowed but NaN isn't. Such a state begins
            with infinity.
        may_be_non_finite: For a float output, whether finite inputs may result in NaN or infinity, which is then
            refused.
    """

    name: str  # as in the graph
    datatype: str  # the protocol's name, such as "FP32"
    axes: tuple[str, ...]  # name of each axis, outermost first: ("batch", "sequence", "features")
    sizes: tuple[int, ...]  # size of each axis, -1 for dynamic axes: (-1, -1, 2)
    optional: bool = False
    lengths_of: str = ""
    low: int | float | None = None  # the smallest valid value. None for any, and 1 for lengths
    high: int | float | None = None
    shortest: int = 1  # for lengths, a valid length for padding rows
    continues_as: str = ""  # for a final state, the input that continues from it, or empty
    zeros_after_lengths: bool = False  # for an output, whether steps after a row's length are zeros
    limits: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict, hash=False)
    must_be_finite: bool = False
    may_be_infinite: bool = False
    may_be_non_finite: bool = False
    default: Array | None = dataclasses.field(default=None, compare=False)
    required_because: str = ""  # why the input is required, or empty
    left_out_with: tuple[str, ...] = ()  # inputs that must be left out if this one is, and vice versa
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
        """The smallest valid integer and the exclusive upper bound. None for unbounded inputs and floats."""
        if self.is_float or self.low is None or self.high is None:
            return None
        return int(self.low), int(self.high)

    @functools.cached_property
    def least_length(self) -> int:
        """For an input with lengths: the smallest valid length."""
        return int(self.low or 1)

    @functools.cached_property
    def filler(self) -> int:
        """The value of padding: 0, or a required input's nearest valid value. For lengths, the shortest."""
        if self.lengths_of:
            return self.shortest
        if self.bounds is None or self.optional:
            return 0
        return min(max(0, self.bounds[0]), self.bounds[1] - 1)

    @functools.cached_property
    def batch_axis(self) -> int:
        """The index of the batch axis: 0 for `input`, 1 for `h_0`."""
        return self.axes.index(BATCH)

    @functools.cached_property
    def sequence_axes(self) -> Mapping[str, int]:
        """The index of each sequence axis by name: the last index if an axis comes twice (attention weights)."""
        return MappingProxyType({name: at for at, name in self._chosen if name not in self.derived})

    @functools.cached_property
    def sized_by(self) -> frozenset[str]:
        """The sequence axes of the inputs whose sizes set this tensor's shape."""
        return frozenset(self.derived[name].of if name in self.derived else name for _, name in self._chosen)

    @property
    def relates_steps(self) -> bool:
        """Whether output steps don't correspond to input steps: an axis comes twice, or has another size."""
        return bool(self.derived) or len(self._chosen) > len(self.sequence_axes)

    @functools.cached_property
    def _chosen(self) -> tuple[tuple[int, str], ...]:
        """The index and name of each dynamic axis except the batch axis."""
        axes = enumerate(zip(self.axes, self.sizes, strict=True))
        return tuple((at, name) for at, (name, size) in axes if size < 0 and name != BATCH)

    def _size(self, name: str, sizes: Mapping[str, int]) -> int:
        derived = self.derived.get(name)
        return sizes[name] if derived is None else derived.size(sizes[derived.of])

    @functools.cached_property
    def has_plain_rows(self) -> bool:
        """Whether a row is one block of bytes that begins with its first steps: (batch, sequence, …)."""
        return self.batch_axis == 0 and set(self.sequence_axes.values()) <= {1}

    def shape(self, batch: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for a batch and sizes of sequence axes: (batch, sequence, 2) for an `input` of 2 features."""
        shape = list(self.sizes)
        shape[self.batch_axis] = batch
        for at, name in self._chosen:
            shape[at] = self._size(name, sizes)
        return tuple(shape)

    def part(self, start: int, stop: int, sizes: Mapping[str, int]) -> tuple[slice, ...]:
        """The index of the rows from `start` to `stop` in an array, up to these sizes of the sequence axes."""
        index = [slice(None)] * len(self.axes)
        index[self.batch_axis] = slice(start, stop)
        for at, name in self._chosen:
            index[at] = slice(0, self._size(name, sizes))
        return tuple(index)

    @property
    def described_axes(self) -> str:
        """The axes, with their fixed or limited sizes: `(batch, sequence, features=2)`, `(batch, sequence=5..64)`."""
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
        """The input that sets the batch size: if possible, a required input with a sequence axis."""
        required = [spec for spec in self.inputs.values() if not spec.optional]
        return max(required or self.inputs.values(), key=lambda spec: bool(spec.sequence_axes))

    def batch_of(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """The batch size from the shapes of the sent inputs, or 1 if all inputs are omitted."""
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
        """The input with the lengths of rows, by sequence axis."""
        return MappingProxyType({spec.lengths_of: spec for spec in self.inputs.values() if spec.lengths_of})

    @functools.cached_property
    def states(self) -> Mapping[str, TensorSpec]:
        """The final state that continues as an initial state, by the initial state's name."""
        return MappingProxyType({spec.continues_as: spec for spec in self.outputs.values() if spec.continues_as})

    @functools.cached_property
    def bounded_states(self) -> tuple[tuple[int, TensorSpec], ...]:
        """The bounded integer initial states, such as positions, each with its index among all states."""
        return tuple((at, self.inputs[name]) for at, name in enumerate(self.states) if self.inputs[name].bounds)

    @functools.cached_property
    def left_out_together(self) -> tuple[TensorSpec, ...]:
        """The inputs that can be omitted only together with others."""
        return tuple(spec for spec in self.inputs.values() if spec.left_out_with)

    @functools.cached_property
    def required_state(self) -> str:
        """A required initial state, so a sequence can't start without it. Empty if there is none."""
        return next((name for name in self.states if not self.inputs[name].optional), "")

    @property
    def is_padded(self) -> bool:
        """Whether rows of a run may be padded, and steps after a row's length may be left out."""
        return self.batching is Batching.PADDED

    @functools.cached_property
    def equal_axes(self) -> tuple[str, ...]:
        """The sequence axes whose sizes must be equal within a run. Only the first axis may be padded."""
        return tuple(self.sequence_axes)[1 if self.is_padded else 0 :]

    def sizes_of(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The sizes of the sequence axes, from the shapes of the inputs."""
        return {axis: shapes[spec.name][spec.sequence_axes[axis]] for axis, spec in self.sequence_axes.items()}

    def longest(
        self, sizes: Mapping[str, int], arrays: Mapping[str, Array], outputs: Collection[str]
    ) -> Mapping[str, int]:
        """Return the steps of each sequence axis that a run needs for these inputs and outputs.

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
        """The sequence axes whose every sent step is needed for these outputs."""
        kept: set[str] = set()
        for spec in [self.outputs[name] for name in outputs]:
            kept |= {d.of for d in spec.derived.values()} if spec.zeros_after_lengths else spec.sized_by
        return kept

    def with_shortest(self, shortest: Mapping[str, int]) -> "Signature":
        """The same signature, with the given lengths of padding rows by input."""
        inputs = {
            name: dataclasses.replace(spec, shortest=shortest[name]) if name in shortest else spec
            for name, spec in self.inputs.items()
        }
        return dataclasses.replace(self, inputs=inputs)

    @functools.cached_property
    def may_be_non_finite(self) -> frozenset[str]:
        """The outputs that may be NaN or infinite. Such responses are refused."""
        return frozenset(spec.name for spec in self.outputs.values() if spec.may_be_non_finite)

    def without_cuts(self) -> "Signature":
        """The same signature, with outputs that need every sent step."""
        outputs = {name: dataclasses.replace(spec, zeros_after_lengths=False) for name, spec in self.outputs.items()}
        return dataclasses.replace(self, outputs=outputs)

    @functools.cached_property
    def _axes_within_axes(self) -> set[tuple[str, ...]]:
        """The sequence axes of each input that has several, as of words in sentences."""
        return {tuple(spec.sequence_axes) for spec in self.inputs.values() if len(spec.sequence_axes) > 1}

    def steps_of(self, sizes: Mapping[str, int]) -> int:
        """Steps of a row, or 1 without sequence axes. Sizes add up across inputs and multiply within one input."""
        steps = sum(sizes.values()) or 1
        for axes in self._axes_within_axes:
            steps = max(steps, math.prod([sizes[axis] for axis in axes]))
        return steps

    def __str__(self) -> str:
        required = [str(spec) for spec in self.inputs.values() if not spec.optional]
        optional = [str(spec) for spec in self.inputs.values() if spec.optional]
        return " and ".join(required) + (f", optionally {', '.join(optional)}" if optional else "")


class SequenceControl(NamedTuple):
    """The sequence parameters of a request."""

    id: int | str  # not 0. 5 and "5" are different ids
    starts: bool  # its states are zeros or its own inputs
    ends: bool  # afterwards the states are dropped
    key: str = ""  # the secret that its requests share on any connection


@dataclasses.dataclass(slots=True)
class CheckedRequest:
    """A request that is safe to run: its tensors match the model's, and their sizes and values are valid.

    This is the second of a request's three stages, between its arrival and its wait in the queue.

    Attributes:
        sizes: Size of each sequence axis by name, as sent. Empty for a model without sequence axes.
        longest: Steps that a run needs, by sequence axis: at most `sizes`. Steps after the longest length are left out
            if the model permits.
        inputs: The sent arrays by name, such as `input` (batch, sequence, features) float32, `lengths` (batch) int64,
            `h_0` (layers * directions, batch, hidden) float32; read-only, contiguous.
        outputs: Names of the run's outputs: the requested outputs in order, followed by final states that the server
            only keeps.
        sequence: The sequence whose states the server keeps. None for a request without a sequence.
        keeper: For a request of a session, takes its run's outputs by name, encrypts the final states, and returns a
            response with only parameters. None for other requests.
        classes: Number of classes by classification output. None without such outputs.
        timeout: Seconds the request may wait for its run. Infinity if only its deadline limits the wait.
    """

    batch: int  # size of the batch axis: the request's rows
    sizes: Mapping[str, int]
    longest: Mapping[str, int]
    steps: int  # steps of a row in a run: the sum of `longest`, or 1 without sequence axes
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""  # the request's id, which the response repeats
    is_raw: bool = True  # whether tensors were sent as bytes (`raw_input_contents`)
    sequence: SequenceControl | None = None
    unasked: int = 0  # the number of last `outputs` that the response leaves out
    keeper: Callable[[Mapping[str, Array]], ModelInferResponse] | None = None
    classes: Mapping[str, int] | None = None
    timeout: float = math.inf

    @property
    def answered(self) -> tuple[str, ...]:
        """Names of the outputs in the response, in the requested order."""
        return self.outputs[: len(self.outputs) - self.unasked]

    @property
    def is_plain(self) -> bool:
        """Whether inputs and outputs are raw, no states are kept, and only its deadline limits its wait."""
        return self.is_raw and self.keeper is None and not self.classes and self.timeout == math.inf
