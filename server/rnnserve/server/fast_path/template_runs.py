"""Runs of requests with one prefix: they differ by their values alone, so there is nothing to plan.

For a prefix and a number of requests, the arrays of a run are kept, and only filled. Most of what such a request costs
beside gRPC is Python that runs with cold caches, so the code here executes as little as possible.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching.batch_arrays import full_lengths, left_out, rows_of_run
from rnnserve.server.fast_path.admission import StepCall
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.templates import RequestPrefix, SentInput
from rnnserve.server.validation.checked_request import Array
from rnnserve.server.validation.signature import TensorSpec
from rnnserve.server.validation.values import all_finite

__all__ = ["SamePrefixBatch", "SamePrefixRun", "SamePrefixRuns", "SameStepBatch"]

_MAX_RUNS, _MAX_BYTES, _MAX_RUN_BYTES = 512, 1 << 25, 1 << 18
"""For how many prefixes and numbers of requests the arrays of a run are kept, and how large they may be, in bytes: all
of them, and those of one run."""


class _WrittenRows:
    """The requests' rows of an array that a run reads: (requests, *axes of one request's tensor)."""

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


class _Output(NamedTuple):
    """An output that the requests ask for."""

    rows: Array  # the requests' rows of the kept array that a run writes: (requests, *axes of one request's tensor)
    size: int  # its bytes in one response
    before: bytes  # what precedes them in a response, after the id if it is the first output
    before_without_id: bytes  # the same in a response without an id


class _State(NamedTuple):
    """A state that the server keeps between the requests."""

    initial: _WrittenRows
    final: Array  # the requests' rows of the array that a run writes: (requests, *axes of one request's tensor)
    blank: bytes  # what stands for a state that is left out, for one request


class SamePrefixRun:
    """What is kept to run a number of requests with one prefix, again and again, on one thread."""

    def __init__(self, prefix: RequestPrefix, count: int) -> None:
        """Make the arrays for so many requests with a bindable prefix; for one, if they don't share runs."""
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
        # Views of the requests' rows: a row of padding may be anything.
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
        """View the requests' rows in a kept array: (requests, *axes of one request's tensor)."""
        axis, batch = spec.batch_axis, self._prefix.batch
        used = array[(slice(None),) * axis + (slice(0, self._count * batch),)]
        return np.moveaxis(used.reshape(*used.shape[:axis], self._count, batch, *used.shape[axis + 1 :]), axis, 0)

    def run(self, payloads: Sequence[bytes], id_fields: Sequence[bytes] = ()) -> list[bytes] | None:
        """Run as many requests as the run was made for, and return the responses.

        The id's field of each has tag and size, and is empty for none; no fields if none has an id. None if a value is
        not plainly valid, or an answer is not finite and has to be: then each request has to pass request validation.
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
        """Put the states of the requests into their rows, before `run`: of each all, or none if it begins."""
        for at, (initial, _, blank) in enumerate(self._states):
            initial.write(b"".join([of[at] if of else blank for of in states]))

    def states(self) -> list[tuple[bytes, ...]]:
        """The states that the last run has left: for each request the bytes of all, in their own shapes."""
        columns = []
        for _, final, blank in self._states:
            data, size = final.tobytes(), len(blank)
            columns.append([data[at : at + size] for at in range(0, size * self._count, size)])
        return list(zip(*columns, strict=True))

    def _fill(self, sent: SentInput, rows: _WrittenRows, values: bytes) -> bool:
        """Put an input's values into its rows, or return False if one of them is not plainly valid."""
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
    """The runs that are kept: a bounded number, each of a bounded size. For one thread."""

    def __init__(self) -> None:
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


class _OfOnePrefix:
    """What batches of requests with one prefix have in common."""

    __slots__ = ("_prefix", "_runs", "arrivals", "rows")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, arrivals: Sequence[float]) -> None:
        self._runs = runs
        self._prefix = prefix
        self.arrivals = arrivals  # in seconds on the clock of `clock`
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
    """Calls with one prefix, as one batch; `id_fields` as in `SamePrefixRun.run`."""

    __slots__ = ("_id_fields", "members")

    def __init__(
        self,
        runs: SamePrefixRuns,
        prefix: RequestPrefix,
        calls: Sequence[ArrivedRequest],
        id_fields: Sequence[bytes],
        arrivals: Sequence[float],
    ) -> None:
        _OfOnePrefix.__init__(self, runs, prefix, arrivals)  # once a run, and cheaper than super()
        self._id_fields = id_fields
        self.members = calls

    def run(self) -> list[bytes] | None:
        """Run them, and return the responses. None if a value is not plainly valid."""
        run = self._runs.get(self._prefix, len(self.members))
        return run.run([call.payload for call in self.members], self._id_fields)

    def part(self, part: slice) -> "SamePrefixBatch":
        """Return some of the calls as a batch of their own."""
        calls, id_fields, arrivals = self.members[part], self._id_fields[part], self.arrivals[part]
        return SamePrefixBatch(self._runs, self._prefix, calls, id_fields, arrivals)


class SameStepBatch(_OfOnePrefix):
    """Requests of sequences with one prefix, as one batch. Its answers are the bytes of responses and of states."""

    __slots__ = ("members",)

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, calls: Sequence[StepCall]) -> None:
        _OfOnePrefix.__init__(self, runs, prefix, [call.arrived for call in calls])
        self.members = calls

    def run(self) -> list[tuple[bytes, tuple[bytes, ...]]] | None:
        """Run them, and return the responses and the states. None if one is not plainly valid."""
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
        """Return some of the calls as a batch of their own."""
        return SameStepBatch(self._runs, self._prefix, self.members[part])
