"""Template runs: batches of requests with one template. Such requests differ only in their values.

For each template and number of requests, the arrays of an inference call are created once and then only filled. Most of
a small request's cost, apart from gRPC, is Python code that runs with cold caches, so the code here executes as little
as possible.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching.batch_arrays import full_lengths, left_out, rows_of_run
from rnnserve.server.fast_path.calls import ArrivedRequest, StepCall
from rnnserve.server.fast_path.templates import RequestPrefix, SentInput
from rnnserve.server.validation.checking import all_finite
from rnnserve.server.validation.signature import Array, TensorSpec

__all__ = ["SamePrefixBatch", "SamePrefixRun", "SamePrefixRuns", "SameStepBatch"]

_MAX_RUNS, _MAX_BYTES, _MAX_RUN_BYTES = 512, 1 << 25, 1 << 18
"""Maximum number of cached template runs, and maximum bytes of their arrays: in total and per run."""


class _WrittenRows:
    """The requests' rows of an input array: (requests, *axes of one request's tensor)."""

    __slots__ = ("_bytes", "array")

    def __init__(self, array: Array) -> None:
        self.array = array
        self._bytes = array.data.cast("B") if array.flags.c_contiguous else None

    def write(self, values: bytes) -> None:
        """Write all rows: the requests' values one after another, each in row-major order."""
        if self._bytes is None:
            self.array[...] = np.frombuffer(values, self.array.dtype).reshape(self.array.shape)
        else:
            self._bytes[:] = values


class _Output(NamedTuple):
    """A requested output."""

    rows: Array  # the requests' rows of the output array: (requests, *axes of one request's tensor)
    size: int  # bytes per response
    before: bytes  # bytes before the output in a response (for the first output, after the id)
    before_without_id: bytes  # the same for a response without an id


class _State(NamedTuple):
    """A state that the server keeps between requests."""

    initial: _WrittenRows
    final: Array  # the requests' rows of the output array: (requests, *axes of one request's tensor)
    blank: bytes  # bytes for one request without a state


class SamePrefixRun:
    """Reusable arrays to run a number of requests with one template. Not thread-safe."""

    def __init__(self, prefix: RequestPrefix, count: int) -> None:
        """Create the arrays for `count` requests with a bindable template (1 if they can't share a batch)."""
        self._prefix = prefix
        self._count = count
        model, signature = prefix.served.model, prefix.served.model.signature
        used = count * prefix.batch
        rows = rows_of_run(signature, used)
        sent = {input.spec.name: input for input in prefix.inputs}
        initial = {spec.name for spec, _ in prefix.states}
        feeds: dict[str, Array] = {}
        self._inputs: list[tuple[SentInput, _WrittenRows]] = []
        for spec in signature.inputs.values():
            shape = spec.shape(rows, prefix.sizes)
            if spec.name in sent:
                fill = min(spec.filler, prefix.sizes[spec.lengths_of]) if spec.lengths_of else spec.filler
                feeds[spec.name] = np.full(shape, fill, spec.dtype)
                self._inputs.append((sent[spec.name], _WrittenRows(self._rows_of(feeds[spec.name], spec))))
            elif spec.name in initial:
                feeds[spec.name] = np.zeros(shape, spec.dtype)
            elif spec.lengths_of:
                feeds[spec.name] = full_lengths(spec, prefix.sizes[spec.lengths_of], used, rows)
            else:
                feeds[spec.name] = left_out(spec, shape)
        finals = [final.name for _, final in prefix.states]
        outputs = [signature.outputs[name] for name in dict.fromkeys((*prefix.outputs, *finals))]
        results = {spec.name: np.empty(spec.shape(rows, prefix.sizes), spec.dtype) for spec in outputs}
        # Views of the requests' rows, because the content of padding rows doesn't matter.
        views = {spec.name: self._rows_of(results[spec.name], spec) for spec in outputs}
        self._outputs: list[_Output] = []
        for name, before in zip(prefix.outputs, prefix.head.before_outputs, strict=True):
            without_id = before if self._outputs else prefix.head.before_id + before
            self._outputs.append(_Output(views[name], views[name][0].nbytes, before, without_id))
        self._states = [
            _State(
                _WrittenRows(self._rows_of(feeds[spec.name], spec)),
                views[final.name],
                left_out(spec, spec.shape(prefix.batch, prefix.sizes)).tobytes(),
            )
            for spec, final in prefix.states
        ]
        may_be_non_finite = signature.may_be_non_finite if model.refuses_non_finite else ()
        self._finite = [view for name, view in views.items() if name in may_be_non_finite]
        kept = (*(feeds[name] for name in (*sent, *initial)), *results.values())
        self.nbytes = sum(array.nbytes for array in kept)
        self._run = model.bind(feeds, results)

    def _rows_of(self, array: Array, spec: TensorSpec) -> Array:
        """Return a view of the requests' rows: (requests, *axes of one request's tensor)."""
        axis, batch = spec.batch_axis, self._prefix.batch
        used = array[(slice(None),) * axis + (slice(0, self._count * batch),)]
        return np.moveaxis(used.reshape(*used.shape[:axis], self._count, batch, *used.shape[axis + 1 :]), axis, 0)

    def run(self, payloads: Sequence[bytes], id_fields: Sequence[bytes] = ()) -> list[bytes] | None:
        """Run the requests and return the encoded responses, or None if they need full validation.

        The number of requests must equal `count`. Each id field includes tag and size, or is empty. If no request has
        an id, `id_fields` is empty. The result is None if a value needs full validation, or if an output is not finite
        but has to be.
        """
        for sent, rows in self._inputs:
            start, end = sent.start, sent.end
            if not self._fill(sent, rows, b"".join([payload[start:end] for payload in payloads])):
                return None
        self._run()
        for array in self._finite:
            if not all_finite(array):
                return None
        has_ids = any(id_fields)
        columns = [[self._prefix.head.before_id + id_field for id_field in id_fields]] if has_ids else []
        for view, size, before, before_without_id in self._outputs:
            data = view.tobytes()
            lead = before if has_ids else before_without_id
            columns.append([lead + data[at : at + size] for at in range(0, size * self._count, size)])
        return columns[0] if len(columns) == 1 else list(map(b"".join, zip(*columns, strict=True)))

    def set_states(self, states: Sequence[tuple[bytes, ...]]) -> None:
        """Write the requests' states into their rows, before `run`. A request that starts a sequence has no states."""
        for at, (initial, _, blank) in enumerate(self._states):
            initial.write(b"".join([of[at] if of else blank for of in states]))

    def states(self) -> list[tuple[bytes, ...]]:
        """Return the final states of the last run: for each request, the bytes of all states in their own shapes."""
        columns = []
        for _, final, blank in self._states:
            data, size = final.tobytes(), len(blank)
            columns.append([data[at : at + size] for at in range(0, size * self._count, size)])
        return list(zip(*columns, strict=True))

    def _fill(self, sent: SentInput, rows: _WrittenRows, values: bytes) -> bool:
        """Write an input's values into its rows. Return False if a value needs full validation."""
        spec = sent.spec
        if spec.lengths_of:
            rows.write(values)
            lengths = rows.array  # (requests, batch)
            return int(lengths.min()) >= spec.least_length and int(lengths.max()) <= self._prefix.sizes[spec.lengths_of]
        if not sent.are_valid(values):
            return False
        rows.write(values)
        return True


class SamePrefixRuns:
    """Cached template runs, bounded in number and size. Not thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[tuple[RequestPrefix, int], SamePrefixRun] = {}
        self._nbytes = 0

    def clear(self) -> None:
        """Clear the cache. Needed when models have changed."""
        self._runs.clear()
        self._nbytes = 0

    def get(self, prefix: RequestPrefix, count: int) -> SamePrefixRun:
        """Return the template run for this template and number of requests."""
        run = self._runs.get((prefix, count))
        if run is None:
            run = SamePrefixRun(prefix, count)
            if run.nbytes <= _MAX_RUN_BYTES:
                if len(self._runs) >= _MAX_RUNS or self._nbytes + run.nbytes > _MAX_BYTES:
                    self.clear()
                self._runs[prefix, count] = run
                self._nbytes += run.nbytes
        return run


class _OfOnePrefix:
    """Base class of batches of requests with one template."""

    __slots__ = ("_prefix", "_runs", "arrivals", "rows")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, arrivals: Sequence[float]) -> None:
        self._runs = runs
        self._prefix = prefix
        self.arrivals = arrivals  # in seconds on `clock`
        self.rows = len(arrivals) * prefix.batch

    @property
    def steps(self) -> int:
        """Total steps of all rows."""
        return self.rows * self._prefix.steps

    @property
    def padded_steps(self) -> int:
        """Steps of the padding row, if the batch has one."""
        return (self.rows & 1) * self._prefix.steps if self._prefix.is_joined else 0

    @property
    def rows_each(self) -> list[int]:
        """Rows of each request."""
        return [self._prefix.batch] * len(self.arrivals)


class SamePrefixBatch(_OfOnePrefix):
    """A batch of calls with one template. For `id_fields`, see `SamePrefixRun.run`."""

    __slots__ = ("_id_fields", "members")

    def __init__(
        self,
        runs: SamePrefixRuns,
        prefix: RequestPrefix,
        calls: Sequence[ArrivedRequest],
        id_fields: Sequence[bytes],
        arrivals: Sequence[float],
    ) -> None:
        _OfOnePrefix.__init__(self, runs, prefix, arrivals)  # runs for each batch, and is cheaper than super()
        self._id_fields = id_fields
        self.members = calls

    def run(self) -> list[bytes] | None:
        """Run the batch and return the responses, or None if it needs full validation."""
        run = self._runs.get(self._prefix, len(self.members))
        return run.run([call.payload for call in self.members], self._id_fields)

    def part(self, part: slice) -> "SamePrefixBatch":
        """Return a slice of the calls as a separate batch."""
        calls, id_fields, arrivals = self.members[part], self._id_fields[part], self.arrivals[part]
        return SamePrefixBatch(self._runs, self._prefix, calls, id_fields, arrivals)


class SameStepBatch(_OfOnePrefix):
    """A batch of sequence requests with one template. The results are bytes of responses and of states."""

    __slots__ = ("members",)

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, calls: Sequence[StepCall]) -> None:
        _OfOnePrefix.__init__(self, runs, prefix, [call.arrived for call in calls])
        self.members = calls

    def run(self) -> list[tuple[bytes, tuple[bytes, ...]]] | None:
        """Run the batch and return the responses and states, or None if it needs full validation."""
        calls, batch = self.members, self._prefix.batch
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
        """Return a slice of the calls as a separate batch."""
        return SameStepBatch(self._runs, self._prefix, self.members[part])
