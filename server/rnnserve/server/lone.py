"""A request alone: run in buffers that are kept with its header, since nothing but its values differs from the last.

Of what a lone request costs, most is Python that runs with cold caches, so the way here is as short as can be. The run
itself is the one that a batch would be: an even number of rows, the same zeros, the same operator.
"""

from typing import NamedTuple

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
    end: int
    part: Array
    view: memoryview | None
    """The part's bytes, where they lie in one piece."""
    is_lengths: bool


class Lone:
    """What is kept to run requests with one header, one at a time, on one thread."""

    def __init__(self, header: Header, *, allow_non_finite: bool) -> None:
        """Make the buffers."""
        model = header.served.model
        self._model = model
        self._sequence = header.sequence
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
                start, end = header.places[spec.name]
                view = part.data.cast("B") if part.flags.c_contiguous else None
                self._fills.append(_Fill(start, end, part, view, spec.name == LENGTHS))
        self._parts: list[tuple[bytes, tuple[slice, ...]]] = []
        for name, lead in zip(header.outputs, header.leads, strict=True):
            axis = model.signature.outputs[name].batch_axis
            self._parts.append((lead, (slice(None),) * axis + (slice(0, header.batch),)))

    @classmethod
    def of(cls, header: Header, *, allow_non_finite: bool) -> "Lone | None":
        """Make the buffers, unless requests with this header are too large for them to be kept."""
        fits = sum(end - start for start, end in header.places.values()) <= 4 * _MOST_VALUES
        return cls(header, allow_non_finite=allow_non_finite) if fits else None

    def run(self, known: Known) -> bytes | None:
        """Run a request with this header.

        Returns:
            The response's bytes, or None where a value is not plainly valid: then it has to pass the boundary.
        """
        if not self._fill(known):
            return None
        results = self._model.run_feeds(self._names, self._feeds)
        data = [lead + result[index].tobytes() for (lead, index), result in zip(self._parts, results, strict=True)]
        return b"".join([self._before, known.id_field, *data])

    def _fill(self, known: Known) -> bool:
        """Put the request's values into the buffers; False where one of them is not plainly valid."""
        payload, shift = known.payload, len(known.id_field)
        for start, end, part, view, is_lengths in self._fills:
            if view is not None:
                view[:] = payload[start + shift : end + shift]
            else:
                part[...] = np.ndarray(part.shape, part.dtype, payload, start + shift)
            if is_lengths:
                if int(part.min()) < 1 or int(part.max()) > self._sequence:
                    return False
            elif not (self._allow_non_finite or all_finite(part)):
                return False
        return True
