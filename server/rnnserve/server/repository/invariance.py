"""Whether the bits of an answer depend on the other requests in its batch: tried on the device where the model runs."""

from collections.abc import Callable, Sequence

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import LENGTHS, Signature

__all__ = ["is_batch_invariant"]

_LENGTHS = (1, 2, 3, 5, 8, 13, 21, 33)
_BATCHES = (1, 1, 2, 3, 1, 5)


def is_batch_invariant(
    run: Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]], signature: Signature, seed: int = 0
) -> bool:
    """Run requests of many sizes alone, two by two, and all together, and compare all outputs byte for byte.

    Args:
        run: Runs requests as one batch.
        signature: The model's.
        seed: Of the values sent.
    """
    numbers = np.random.default_rng(seed)
    requests = [
        _request(signature, batch, length, numbers)
        for number, length in enumerate(_LENGTHS)
        for batch in _BATCHES[number % 3 :: 3]
    ]
    alone = [run([request])[0] for request in requests]
    in_pairs = [run(list(pair))[0] for pair in zip(requests, requests[1:] + requests[:1], strict=True)]
    return all(_same(alone, others) for others in (run(requests), run(requests[::-1])[::-1], in_pairs))


def _request(signature: Signature, batch: int, length: int, numbers: np.random.Generator) -> CheckedRequest:
    inputs = {
        spec.name: numbers.normal(size=spec.shape(batch, length)).astype(spec.dtype)
        for spec in signature.inputs.values()
        if spec.name != LENGTHS
    }
    return CheckedRequest(batch, length, length, inputs, tuple(signature.outputs))


def _same(some: list[dict[str, Array]], others: list[dict[str, Array]]) -> bool:
    return all(
        array.tobytes() == other[name].tobytes()
        for one, other in zip(some, others, strict=True)
        for name, array in one.items()
    )
