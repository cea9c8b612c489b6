"""A request alone: run in buffers that are kept with its header, since nothing but its values differs from the last.

Of what a lone request costs, most is Python that runs with cold caches, so the way here is as short as can be. The run
itself is the one that a batch would be: an even number of rows, the same zeros, the same operator.
"""

import time
from typing import Any, NamedTuple

import numpy as np

from rnnserve.server.boundary import Array, all_finite
from rnnserve.server.headers import Header, Known
from rnnserve.server.signature import LENGTHS

__all__ = ["Lone"]

_MOST_VALUES = 1024
"""Requests with more values than this are run as any others: what is kept with a header stays small."""


class _Fill(NamedTuple):
    """Where an input's bytes lie in the payload, and the part of the buffer that they go to."""

    start: int
    values: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    part: Array
    is_lengths: bool


class Lone:
    """What is kept to run requests with one header, one at a time, on one thread."""

    def __init__(self, header: Header, *, allow_non_finite: bool) -> None:
        """Make the buffers; see `fits`."""
        model = header.served.model
        self._model = model
        self._sequence = header.sequence
        self._batch = header.batch
        self._allow_non_finite = allow_non_finite
        self._names = list(header.outputs)
        self._before = header.before
        rows = header.batch + (header.batch & 1)
        self._feeds: dict[str, Array] = {}
        self._fills: list[_Fill] = []
        for spec in model.signature.inputs.values():
            buffer = np.zeros(spec.shape(rows, header.sequence), spec.dtype)
            part = buffer[(slice(None),) * spec.batch_axis + (slice(0, header.batch),)]
            if spec.name == LENGTHS:
                buffer[:] = 1
                part[:] = header.sequence
            self._feeds[spec.name] = buffer
            if spec.name in header.places:
                shape = spec.shape(header.batch, header.sequence)
                start, _ = header.places[spec.name]
                fill = _Fill(start, part.size, spec.dtype, shape, part, spec.name == LENGTHS)
                self._fills.append(fill)
        self._parts: list[tuple[bytes, tuple[slice, ...]]] = []
        for name, lead in zip(header.outputs, header.leads, strict=True):
            axis = model.signature.outputs[name].batch_axis
            self._parts.append((lead, (slice(None),) * axis + (slice(0, header.batch),)))

    @staticmethod
    def fits(header: Header) -> bool:
        """Whether requests with this header are small enough for their buffers to be kept."""
        return sum(end - start for start, end in header.places.values()) <= 4 * _MOST_VALUES

    def run(self, known: Known, arrived: int) -> bytes | None:
        """Run a request and build its response.

        Args:
            known: A request with this header.
            arrived: When it came, on `time.perf_counter_ns`'s clock.

        Returns:
            The response's bytes, or None where a value is not plainly valid: then it has to pass the boundary.
        """
        started = time.perf_counter_ns()
        if not self._fill(known):
            return None
        results = self._model.run_feeds(self._names, self._feeds)
        data = [lead + result[index].tobytes() for (lead, index), result in zip(self._parts, results, strict=True)]
        self._model.statistics.record(
            requests=1, rows=self._batch, run_ns=time.perf_counter_ns() - started, wait_ns=started - arrived
        )
        return b"".join([self._before, known.id_field, *data])

    def _fill(self, known: Known) -> bool:
        """Put the request's values into the buffers; False where one of them is not plainly valid."""
        shift = len(known.id_field)
        for start, values, dtype, shape, part, is_lengths in self._fills:
            array: Array = np.frombuffer(known.payload, dtype, values, start + shift)
            if is_lengths:
                if int(array.min()) < 1 or int(array.max()) > self._sequence:
                    return False
            elif not self._allow_non_finite and not all_finite(array):
                return False
            part[...] = array.reshape(shape)
        return True
