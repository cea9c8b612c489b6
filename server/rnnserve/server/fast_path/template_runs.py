"""Runs of requests with one prefix: they differ by their values alone, so there is nothing to plan.

For a prefix and a number of requests, the arrays of a run are kept, and only filled. Most of what such a request costs
beside gRPC is Python that runs with cold caches, so the code here executes as little as possible.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching.batch_arrays import full_lengths, left_out, rows_of_run
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.pending import StepCall
from rnnserve.server.fast_path.templates import RequestPrefix
from rnnserve.server.validation.checked_request import Array
from rnnserve.server.validation.signature import TensorSpec
from rnnserve.server.validation.values import all_finite

__all__ = ["SamePrefixBatch", "SamePrefixRun", "SamePrefixRuns", "SameStepBatch"]

_MAX_RUNS, _MAX_BYTES, _MAX_RUN_BYTES = 512, 1 << 25, 1 << 18
"""For how many prefixes and numbers of requests the arrays of a run are kept, and how large they may be, in bytes: all
of them, and those of one run."""


class _WrittenRows:
    """The requests' rows of an array that a run reads.

    Attributes:
        array: (requests, *axes of one request's tensor).
    """

    __slots__ = ("_bytes", "array")

    def __init__(self, array: Array) -> None:
        self.array = array
        self._bytes = array.data.cast("B") if array.flags.c_contiguous else None

    def write(self, values: bytes) -> None:
        """Write all of them: one request's values after the other's, each in row-major order."""
        if self._bytes is None:
            self.array[...] = np.frombuffer(values, self.array.dtype).reshape(self.array.shape)
        else:
            self._bytes[:] = values


class _Input(NamedTuple):
    """An input that the requests send.

    Attributes:
        spec: The input.
        start: Where its bytes begin in a payload, counted from the payload's end, since ids differ in size.
        end: Where they end, or None for the payload's end.
        rows: The requests' rows of the kept array.
        are_valid: Says of the values' bytes whether every value is plainly valid; not used for lengths.
    """

    spec: TensorSpec
    start: int
    end: int | None
    rows: _WrittenRows
    are_valid: Callable[[bytes], bool]


class _Output(NamedTuple):
    """An output that the requests ask for.

    Attributes:
        rows: The requests' rows of the kept array that a run writes: (requests, *axes of one request's tensor).
        size: Its bytes in one response.
        before: What precedes them in a response, after the id where it is the first output.
        before_without_id: The same in a response without an id.
    """

    rows: Array
    size: int
    before: bytes
    before_without_id: bytes


class _State(NamedTuple):
    """A state that the server keeps between the requests.

    Attributes:
        initial: The requests' rows of the kept array that a run reads.
        final: The same of the array that a run writes: (requests, *axes of one request's tensor).
        blank: The bytes of what stands for a state that is left out, for one request.
    """

    initial: _WrittenRows
    final: Array
    blank: bytes


class SamePrefixRun:
    """What is kept to run a number of requests with one prefix, again and again, on one thread.

    Attributes:
        nbytes: How much memory its arrays take, in bytes.
    """

    def __init__(self, prefix: RequestPrefix, count: int) -> None:
        """Make the arrays.

        Args:
            prefix: Prefix of the requests; one that is bindable.
            count: Number of requests; 1 where those with the prefix are not joined.
        """
        self._prefix = prefix
        self._count = count
        model, head = prefix.served.model, prefix.head
        used = count * prefix.batch
        rows = rows_of_run(model.signature, used)
        sent = {input.spec.name: input for input in prefix.inputs}
        initial = {spec.name for spec, _ in prefix.states}
        feeds: dict[str, Array] = {}
        self._inputs: list[_Input] = []
        for spec in model.signature.inputs.values():
            shape = spec.shape(rows, prefix.sizes)
            if spec.name in sent:
                _, _, start, end, are_valid = sent[spec.name]
                fill = min(spec.filler, prefix.sizes[spec.lengths_of]) if spec.lengths_of else spec.filler
                feeds[spec.name] = array = np.full(shape, fill, spec.dtype)
                sent_rows = _WrittenRows(_by_request(array, spec, count, prefix.batch))
                self._inputs.append(_Input(spec, start - prefix.size, end - prefix.size or None, sent_rows, are_valid))
            elif spec.name in initial:
                feeds[spec.name] = np.zeros(shape, spec.dtype)
            elif spec.lengths_of:
                feeds[spec.name] = full_lengths(spec, prefix.sizes[spec.lengths_of], used, rows)
            else:
                feeds[spec.name] = left_out(spec, shape)
        results: dict[str, Array] = {}
        self._outputs: list[_Output] = []
        for name, before in zip(prefix.outputs, head.before_outputs, strict=True):
            spec = model.signature.outputs[name]
            result: Array = np.empty(spec.shape(rows, prefix.sizes), spec.dtype)
            results[name] = result
            rows_of = _by_request(result, spec, count, prefix.batch)
            without_id = before if self._outputs else head.before_id + before
            self._outputs.append(_Output(rows_of, rows_of[0].nbytes, before, without_id))
        self._states: list[_State] = []
        for spec, final in prefix.states:
            if final.name not in results:
                results[final.name] = np.empty(final.shape(rows, prefix.sizes), final.dtype)
            initial_rows = _by_request(feeds[spec.name], spec, count, prefix.batch)
            final_rows = _by_request(results[final.name], final, count, prefix.batch)
            blank = left_out(spec, spec.shape(prefix.batch, prefix.sizes)).tobytes()
            self._states.append(_State(_WrittenRows(initial_rows), final_rows, blank))
        # Views of the requests' rows: a row of padding may be anything.
        self._finite = tuple(
            output.rows
            for output, name in zip(self._outputs, prefix.outputs, strict=True)
            if model.refuses_non_finite and name in model.signature.may_be_non_finite
        ) + tuple(
            state.final
            for state, (_, final) in zip(self._states, prefix.states, strict=True)
            if model.refuses_non_finite and final.name in model.signature.may_be_non_finite
        )
        kept = (*(feeds[name] for name in (*sent, *initial)), *results.values())
        self.nbytes = sum(array.nbytes for array in kept)
        self._run = model.bind(feeds, results)

    def run(self, payloads: Sequence[bytes], id_fields: Sequence[bytes] = ()) -> list[bytes] | None:
        """Run requests as one batch.

        Args:
            payloads: Bytes of as many requests as were told.
            id_fields: The id's field of each, tag and size included, empty for none; or nothing where none has an id.

        Returns:
            The responses, or None where a value is not plainly valid, or an answer is not finite and has to be: then
            each has to pass the boundary.
        """
        for input in self._inputs:
            start, end = input.start, input.end
            if not self._fill(input, b"".join([payload[start:end] for payload in payloads])):
                return None
        self._run()
        for array in self._finite:
            if not all_finite(array):
                return None
        has_ids = any(id_fields)
        columns = [[self._prefix.head.before_id + id_field for id_field in id_fields]] if has_ids else []
        for rows, size, before, before_without_id in self._outputs:
            data = rows.tobytes()
            lead = before if has_ids else before_without_id
            columns.append([lead + data[at : at + size] for at in range(0, size * self._count, size)])
        return columns[0] if len(columns) == 1 else list(map(b"".join, zip(*columns, strict=True)))

    def set_states(self, states: Sequence[tuple[bytes, ...]]) -> None:
        """Put the states of the requests into their rows, before `run`: of each all, or none where it begins."""
        for at, (initial, _, blank) in enumerate(self._states):
            initial.write(b"".join([of[at] if of else blank for of in states]))

    def states(self) -> list[tuple[bytes, ...]]:
        """The states that the last run has left: for each request the bytes of all, in their own shapes."""
        columns = []
        for _, final, blank in self._states:
            data, size = final.tobytes(), len(blank)
            columns.append([data[at : at + size] for at in range(0, size * self._count, size)])
        return list(zip(*columns, strict=True))

    def _fill(self, input: _Input, values: bytes) -> bool:
        """Put an input's values into its rows; False where one of them is not plainly valid."""
        spec, rows = input.spec, input.rows
        if spec.lengths_of:
            rows.write(values)
            lengths = rows.array  # (requests, batch)
            return int(lengths.min()) >= spec.least_length and int(lengths.max()) <= self._prefix.sizes[spec.lengths_of]
        if not input.are_valid(values):
            return False
        rows.write(values)
        return True


class SamePrefixRuns:
    """The runs that are kept: a bounded number, each of a bounded size. For one thread."""

    def __init__(self) -> None:
        """Start without any."""
        self._runs: dict[tuple[RequestPrefix, int], SamePrefixRun] = {}
        self._nbytes = 0

    def clear(self) -> None:
        """Drop everything, as when the models have changed."""
        self._runs.clear()
        self._nbytes = 0

    def get(self, prefix: RequestPrefix, count: int) -> SamePrefixRun:
        """The run of as many requests with this prefix."""
        run = self._runs.get((prefix, count))
        if run is None:
            run = SamePrefixRun(prefix, count)
            if run.nbytes <= _MAX_RUN_BYTES:
                if len(self._runs) >= _MAX_RUNS or self._nbytes + run.nbytes > _MAX_BYTES:
                    self.clear()
                self._runs[prefix, count] = run
                self._nbytes += run.nbytes
        return run


def _by_request(array: Array, spec: TensorSpec, count: int, batch: int) -> Array:
    """View the rows that requests have in a kept array of a tensor: (requests, *axes of one request's tensor).

    Args:
        array: Array of the tensor's axes, such as (layers * directions, rows, hidden), with at least count * batch
            rows.
        spec: The tensor.
        count: Number of requests.
        batch: Rows of each.
    """
    axis = spec.batch_axis
    used = array[(slice(None),) * axis + (slice(0, count * batch),)]
    return np.moveaxis(used.reshape(*used.shape[:axis], count, batch, *used.shape[axis + 1 :]), axis, 0)


class _OfOnePrefix:
    """What batches of requests with one prefix have in common."""

    __slots__ = ("_prefix", "_runs", "arrivals", "rows")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, arrivals: Sequence[float]) -> None:
        self._runs = runs
        self._prefix = prefix
        self.arrivals = arrivals
        self.rows = len(arrivals) * prefix.batch

    @property
    def steps(self) -> int:
        """Steps of all of their rows, together."""
        return self.rows * self._prefix.steps

    @property
    def padded_steps(self) -> int:
        """Steps of the run beside these: a padding row's."""
        return (self.rows & 1) * self._prefix.steps if self._prefix.is_joined else 0

    @property
    def rows_each(self) -> list[int]:
        """Rows of each of them."""
        return [self._prefix.batch] * len(self.arrivals)


class SamePrefixBatch(_OfOnePrefix):
    """Calls with one prefix, as one batch.

    Attributes:
        members: The calls.
        rows: Rows of all of them.
        arrivals: Their arrivals, in seconds on the clock of `clock`.
    """

    __slots__ = ("_id_fields", "members")

    def __init__(
        self,
        runs: SamePrefixRuns,
        prefix: RequestPrefix,
        calls: Sequence[ArrivedRequest],
        id_fields: Sequence[bytes],
        arrivals: Sequence[float],
    ) -> None:
        """Make a batch.

        Args:
            runs: The runs that are kept.
            prefix: Prefix of the calls.
            calls: The calls.
            id_fields: The id's field of each, tag and size included, empty for none; or nothing where none has an id.
            arrivals: Times of their arrivals, in seconds on the clock of `clock`.
        """
        _OfOnePrefix.__init__(self, runs, prefix, arrivals)  # once a run, and cheaper than super()
        self._id_fields = id_fields
        self.members = calls

    def run(self) -> list[bytes] | None:
        """Run them, and give the responses; None where a value is not plainly valid."""
        run = self._runs.get(self._prefix, len(self.members))
        return run.run([call.payload for call in self.members], self._id_fields)

    def part(self, part: slice) -> "SamePrefixBatch":
        """Give some of the calls as a batch of their own."""
        return SamePrefixBatch(
            self._runs,
            self._prefix,
            self.members[part],
            self._id_fields[part],
            self.arrivals[part],
        )


class SameStepBatch(_OfOnePrefix):
    """Requests of sequences with one prefix, as one batch.

    Attributes:
        members: What is answered, each with the bytes of its response and of its states.
        rows: Rows of all of them.
        arrivals: Their arrivals, in seconds on the clock of `clock`.
    """

    __slots__ = ("_calls", "members")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, calls: Sequence[StepCall]) -> None:
        """Make a batch.

        Args:
            runs: The runs that are kept.
            prefix: Prefix of the calls.
            calls: The calls.
        """
        _OfOnePrefix.__init__(self, runs, prefix, [call.arrived for call in calls])
        self._calls = calls
        self.members = [_StepMember(call) for call in calls]

    def run(self) -> list[tuple[bytes, tuple[bytes, ...]]] | None:
        """Run them, and give the responses and the states; None where one is not plainly valid."""
        calls, batch = self._calls, self._prefix.batch
        before: list[tuple[bytes, ...]] = []
        for call in calls:
            states = call.step.states(batch)
            if states is None:
                return None
            before.append(states)
        run = self._runs.get(self._prefix, len(calls))
        run.set_states(before)
        responses = run.run([call.call.payload for call in calls], [call.id_field for call in calls])
        return None if responses is None else list(zip(responses, run.states(), strict=True))

    def part(self, part: slice) -> "SameStepBatch":
        """Give some of the calls as a batch of their own."""
        return SameStepBatch(self._runs, self._prefix, self._calls[part])


class _StepMember:
    """Answers a call with the bytes of its response and of its states."""

    __slots__ = ("_call", "origin", "refuse")

    def __init__(self, call: StepCall) -> None:
        self._call = call
        self.refuse, self.origin = call.refuse, call.origin

    def answer(self, answer: tuple[bytes, tuple[bytes, ...]]) -> None:
        """Send the response, and keep the states."""
        self._call.answer_encoded(*answer)
