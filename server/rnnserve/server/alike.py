"""Requests with one header, run together: they differ by their values alone, so there is nothing to plan.

For a header and a number of requests, the arrays of a run are kept, and only filled. Of what such a request costs
beside gRPC, most is Python that runs with cold caches: the way here is as short as can be.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching import full_lengths, zeros
from rnnserve.server.boundary import Array, are_finite
from rnnserve.server.headers import Header, Known
from rnnserve.server.signature import LENGTHS, TensorSpec

__all__ = ["Alike"]


class _Input(NamedTuple):
    """An input that the requests bring."""

    spec: TensorSpec
    start: int
    """Where its bytes begin in a payload, counted from the end, since ids vary; and where they end."""
    end: int | None
    part: Array
    """The rows of the kept array that they go to."""
    view: memoryview
    """The kept array's bytes."""


class _Output(NamedTuple):
    """An output that the requests ask for."""

    spec: TensorSpec
    result: Array
    """The kept array that it is written to."""
    size: int
    """Bytes in a response."""
    lead: bytes
    """What comes before them behind an id, and where there is none."""
    lead_without_id: bytes


class Alike:
    """What is kept to run a number of requests with one header, again and again, on one thread.

    Attributes:
        nbytes: How much memory it keeps, in bytes.
    """

    def __init__(self, header: Header, count: int, *, allow_non_finite: bool) -> None:
        """Make the arrays.

        Args:
            header: The requests'. With lengths, it is one request: of several, those of other lengths would be padding.
            count: How many requests.
            allow_non_finite: Let NaN and infinity through.
        """
        self._header = header
        self._count = count
        self._allow_non_finite = allow_non_finite
        model = header.served.model
        used = count * header.batch
        rows = used + (used & 1)
        feeds: dict[str, Array] = {}
        self._inputs: list[_Input] = []
        for spec in model.signature.inputs.values():
            shape = spec.shape(rows, header.sequence)
            if spec.name in header.places:
                start, end = header.places[spec.name]
                array = np.ones(shape, spec.dtype) if spec.name == LENGTHS else np.zeros(shape, spec.dtype)
                part = array[_rows(spec, used)]
                view = array.data.cast("B")
                self._inputs.append(_Input(spec, start - header.size, end - header.size or None, part, view))
                feeds[spec.name] = array
            elif spec.name == LENGTHS:
                feeds[spec.name] = full_lengths(header.sequence, used, rows)
            else:
                feeds[spec.name] = zeros(shape, spec.dtype)
        self._outputs: list[_Output] = []
        for name, lead in zip(header.outputs, header.leads, strict=True):
            spec = model.signature.outputs[name]
            result = np.empty(spec.shape(rows, header.sequence), spec.dtype)
            size = math.prod(spec.shape(header.batch, header.sequence)) * spec.dtype.itemsize
            self._outputs.append(_Output(spec, result, size, lead, lead if self._outputs else header.before + lead))
        results = {output.spec.name: output.result for output in self._outputs}
        self.nbytes = sum(array.nbytes for array in (*(feeds[name] for name in header.places), *results.values()))
        self._run = model.bind(feeds, results)

    def run(self, members: Sequence[Known], *, has_ids: bool = True) -> list[bytes] | None:
        """Run requests as one batch.

        Args:
            members: As many requests as were told.
            has_ids: Whether one of them may have an id; where none has, nothing but their payloads is looked at.

        Returns:
            The responses, or None where a value is not plainly valid: then each has to pass the boundary.
        """
        for input in self._inputs:
            start, end = input.start, input.end
            if not self._fill(input, b"".join([known.payload[start:end] for known in members])):
                return None
        self._run()
        ids = [known.id_field for known in members] if has_ids else []
        has_ids = any(ids)
        columns = [[self._header.before + id_field for id_field in ids]] if has_ids else []
        for spec, result, size, lead, lead_without_id in self._outputs:
            whole = result.tobytes() if spec.batch_axis == 0 else self._by_request(result, spec)
            before = lead if has_ids else lead_without_id
            columns.append([before + whole[at : at + size] for at in range(0, size * self._count, size)])
        return columns[0] if len(columns) == 1 else list(map(b"".join, zip(*columns, strict=True)))

    def _fill(self, input: _Input, values: bytes) -> bool:
        """Put an input's values into its rows; False where one of them is not plainly valid."""
        spec, part = input.spec, input.part
        if spec.name == LENGTHS:
            part[...] = np.frombuffer(values, spec.dtype)
            return int(part.min()) >= 1 and int(part.max()) <= self._header.sequence
        if not (self._allow_non_finite or are_finite(values)):
            return False
        if spec.batch_axis == 0:
            input.view[: len(values)] = values
        else:
            each = np.frombuffer(values, spec.dtype).reshape(self._count, *self._shape(spec))
            part[...] = np.moveaxis(each, 0, spec.batch_axis).reshape(part.shape)
        return True

    def _by_request(self, states: Array, spec: TensorSpec) -> bytes:
        """States, (layers * directions, rows, hidden), as bytes of (layers * directions, batch, hidden) for each."""
        shape, axis = self._shape(spec), spec.batch_axis
        used = states[_rows(spec, self._count * self._header.batch)]
        return np.moveaxis(used.reshape(*shape[:axis], self._count, *shape[axis:]), axis, 0).tobytes()

    def _shape(self, spec: TensorSpec) -> tuple[int, ...]:
        return spec.shape(self._header.batch, self._header.sequence)


def _rows(spec: TensorSpec, count: int) -> tuple[slice, ...]:
    return (slice(None),) * spec.batch_axis + (slice(0, count),)
