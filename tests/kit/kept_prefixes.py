"""Requests, and caches that keep their prefixes, compared with parsing."""

import random

import numpy as np

from kit.inference_requests import request
from rnnserve.server.errors import ServeError
from rnnserve.server.fast_path.template_runs import SamePrefixRun
from rnnserve.server.fast_path.templates import PrefixCache, RequestPrefix
from rnnserve.server.protocol.responses import encode_response

__all__ = ["NAME", "agrees", "asked", "inputs", "kept", "parsed", "recognised"]

NAME = "direction_stacked"


def inputs(numbers, batch=2, sequence=5, *, lengths=True, state=True):
    """Drawn inputs of the model, with or without those that have a default."""
    sent = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if lengths:
        sent["lengths"] = numbers.integers(1, sequence + 1, batch)
    if state:
        sent["h_0"] = numbers.normal(size=(2, batch, 16)).astype(np.float32)
    return sent


def asked(seed: int, values: int | None = None, *, lengths: float = 0.4) -> bytes:
    """A request of any kind: rows, steps, lengths or none, a state or none, outputs in any order, an id or none.

    Two requests with the same seed and other `values` differ only in the values and the id.
    """
    chance, numbers = random.Random(seed), np.random.default_rng(seed if values is None else values)
    has_lengths, has_state = chance.random() < lengths, chance.random() < 0.4
    sent = inputs(numbers, chance.choice([1, 1, 1, 2, 3]), chance.randint(1, 12), lengths=has_lengths, state=has_state)
    outputs = chance.sample(["logits", "output", "h_n"], chance.randint(1, 3))
    message = request(NAME, sent, ["logits"] if chance.random() < 0.5 else outputs, version=chance.choice(["", "1"]))
    message.id = random.Random(values).choice(["", "", str(seed), str(values)])
    return message.SerializeToString()


def recognised(service, prefixes: PrefixCache, payload: bytes) -> tuple[RequestPrefix, bytes]:
    """A request's prefix and the field of its id. The prefix is added if it is not known."""
    if prefixes.recognise(payload) is None:
        prefixes.add(payload, *service.accept(payload))
    found = prefixes.recognise(payload)
    assert found is not None
    return found.prefix, found.id_field


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
    """Whether the payload was recognised. If it was, that it is answered as it is when it has been parsed."""
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
    if checked is not None:  # None: left to validation
        assert (checked.batch, checked.sizes, checked.longest, checked.steps, checked.outputs) == (
            expected.batch, expected.sizes, expected.longest, expected.steps, expected.outputs,
        )  # fmt: skip
        (outputs,) = model.run([checked])
        assert prefix.head.encode(id_field, outputs.values()) == parsed(service, payload)
    assert run is None or run == [parsed(service, payload)]
    return True
