"""Requests with one header and no lengths, run together: they differ by their values alone, so nothing is padded."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.server.batching import full_lengths, zeros
from rnnserve.server.boundary import Array, are_finite
from rnnserve.server.headers import Header, Known
from rnnserve.server.signature import LENGTHS, TensorSpec

__all__ = ["Alike"]


class _Given(NamedTuple):
    """An input that the requests bring, and the slice of their payloads that it is, counted from the end: ids vary."""

    spec: TensorSpec
    start: int
    end: int | None


class Alike:
    """What is kept to run requests with one header together, on one thread."""

    def __init__(self, header: Header, *, allow_non_finite: bool) -> None:
        """Find out where everything lies; the header has no lengths."""
        self._header = header
        self._model = header.served.model
        self._allow_non_finite = allow_non_finite
        signature = self._model.signature
        self._given = [
            _Given(signature.inputs[name], start - header.size, end - header.size or None)
            for name, (start, end) in header.places.items()
        ]
        self._spared = [spec for name, spec in signature.inputs.items() if name not in header.places]
        self._names = list(header.outputs)
        self._specs = [signature.outputs[name] for name in header.outputs]
        self._leads_without_id = (header.before + header.leads[0], *header.leads[1:])

    def run(self, members: Sequence[Known]) -> list[bytes] | None:
        """Run requests with this header as one batch.

        Returns:
            The responses, or None where a number is not finite.
        """
        feeds = self._feeds(members)
        if feeds is None:
            return None
        results = self._model.run_feeds(self._names, feeds)
        ids = [known.id_field for known in members]
        has_ids = any(ids)
        leads = self._header.leads if has_ids else self._leads_without_id
        columns = [
            self._split(lead, result, spec, len(members))
            for lead, result, spec in zip(leads, results, self._specs, strict=True)
        ]
        if has_ids:
            before = self._header.before
            columns.insert(0, [before + id_field for id_field in ids])
        return columns[0] if len(columns) == 1 else list(map(b"".join, zip(*columns, strict=True)))

    def _feeds(self, members: Sequence[Known]) -> Mapping[str, Array] | None:
        """Join what the requests bring; None where a number is not finite."""
        batch, sequence = self._header.batch, self._header.sequence
        used = len(members) * batch
        rows = used + (used & 1)
        feeds: dict[str, Array] = {}
        for spec, start, end in self._given:
            parts = [known.payload[start:end] for known in members]
            if spec.batch_axis == 0 and rows > used:
                parts.append(bytes(len(parts[0]) // batch))
            joined = b"".join(parts)
            if not (self._allow_non_finite or are_finite(joined)):
                return None
            if spec.batch_axis == 0:
                feeds[spec.name] = np.frombuffer(joined, spec.dtype).reshape(spec.shape(rows, sequence))
            else:
                feeds[spec.name] = self._as_state(joined, spec, rows)
        for spec in self._spared:
            is_lengths = spec.name == LENGTHS
            shape = spec.shape(rows, sequence)
            feeds[spec.name] = full_lengths(sequence, used, rows) if is_lengths else zeros(shape, spec.dtype)
        return feeds

    def _as_state(self, states: bytes, spec: TensorSpec, rows: int) -> Array:
        """Join states, (layers * directions, batch, hidden) each, one behind the other, along their batch axis."""
        batch, sequence = self._header.batch, self._header.sequence
        each = np.frombuffer(states, spec.dtype).reshape(-1, *spec.shape(batch, sequence))
        joined = np.zeros(spec.shape(rows, sequence), spec.dtype)
        used = joined[_rows(spec, len(each) * batch)]
        used[...] = np.moveaxis(each, 0, spec.batch_axis).reshape(used.shape)
        return joined

    def _split(self, lead: bytes, result: Array, spec: TensorSpec, count: int) -> list[bytes]:
        """Split an output into what each request gets of it, each behind `lead`; the run's padding is left out."""
        batch, axis = self._header.batch, spec.batch_axis
        if axis:
            shape = spec.shape(batch, self._header.sequence)
            each = result[_rows(spec, count * batch)].reshape(*shape[:axis], count, *shape[axis:])
            result = np.moveaxis(each, axis, 0)
        whole = result.tobytes()
        size = math.prod(spec.shape(batch, self._header.sequence)) * spec.dtype.itemsize
        return [lead + whole[at : at + size] for at in range(0, size * count, size)]


def _rows(spec: TensorSpec, count: int) -> tuple[slice, ...]:
    return (slice(None),) * spec.batch_axis + (slice(0, count),)
