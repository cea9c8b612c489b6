"""Requests, and caches that keep their prefixes, compared with parsing."""

import numpy as np

from rnnserve.server.errors import ServeError
from rnnserve.server.lane.prefixes import PrefixCache
from rnnserve.server.lane.same_prefix import SamePrefixRun
from rnnserve.server.protocol.responses import encode_response

__all__ = ["NAME", "agrees", "inputs", "kept", "parsed"]

NAME = "direction_stacked"


def inputs(numbers, batch=2, sequence=5, *, lengths=True, state=True):
    """Drawn inputs of the model, with or without those that have a default."""
    sent = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if lengths:
        sent["lengths"] = numbers.integers(1, sequence + 1, batch)
    if state:
        sent["h_0"] = numbers.normal(size=(2, batch, 16)).astype(np.float32)
    return sent


def kept(service, payload: bytes) -> PrefixCache:
    """A cache with the prefix of this request, if it can be kept."""
    prefixes = PrefixCache(allow_non_finite=False)
    prefixes.add(payload, *service.accept(payload))
    return prefixes


def parsed(service, payload: bytes) -> bytes:
    """The response to a request that is parsed."""
    served, checked = service.accept(payload)
    (outputs,) = served.model.run([checked])
    return encode_response(served.model, checked, outputs)


def agrees(service, prefixes: PrefixCache, payload: bytes) -> bool:
    """Whether the payload was recognised; if it was, that it is answered as it is when it has been parsed."""
    found = prefixes.recognise(payload)
    if found is None:
        return False
    prefix, id_field = found.prefix, found.id_field
    model = prefix.served.model
    run = SamePrefixRun(prefix, 1).run([payload], [id_field])
    checked = prefix.read(payload, found.varying_size)
    try:
        served, expected = service.accept(payload)
    except ServeError:
        assert run is None
        assert checked is None
        return True
    assert served is prefix.served
    assert found.sequence == expected.sequence
    if checked is not None:  # None: left to the boundary
        assert (checked.batch, checked.sizes, checked.longest, checked.steps, checked.outputs) == (
            expected.batch, expected.sizes, expected.longest, expected.steps, expected.outputs,
        )  # fmt: skip
        (outputs,) = model.run([checked])
        assert prefix.head.encode(id_field, outputs.values()) == parsed(service, payload)
    assert run is None or run == [parsed(service, payload)]
    return True
