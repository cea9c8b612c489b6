"""Whether the bits of an answer depend on the requests that share its run: tried on the device where the model runs.

Only batches are tried that the server makes: none where each request runs alone; of equal sizes where rows may not be
padded; of any sizes where they may, with more and less padding.
"""

from collections.abc import Callable, Sequence

from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Batching, Signature

__all__ = ["is_batch_invariant"]

_STEPS = (1, 2, 3, 5, 8, 13, 21, 33)
_BATCHES = (1, 1, 2, 3, 1, 5)

_Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]


def is_batch_invariant(run: _Run, signature: Signature, trials: TrialRequests) -> bool:
    """Run requests alone and in company, and compare all outputs byte for byte.

    Args:
        run: A function that runs requests as one batch.
        signature: Signature of the model.
        trials: The source of its requests.
    """
    if signature.batching is Batching.ALONE:
        return True
    if not signature.is_padded:
        sizes = {tuple(trials.sizes(steps).items()) for steps in _STEPS}
        return all(
            _agree_in_company(run, [trials.draw(batch, dict(size)) for batch in _BATCHES]) for size in sorted(sizes)
        )
    requests = [
        trials.draw(batch, trials.sizes(steps), lengths="drawn" if number % 2 else "")
        for number, steps in enumerate(_STEPS)
        for batch in _BATCHES[number % 3 :: 3]
    ]
    return _agree_in_company(run, requests) and _agree_in_padding(run, signature, trials)


def _agree_in_company(run: _Run, requests: list[CheckedRequest]) -> bool:
    """Run requests alone, two by two, and all together."""
    alone = [run([request])[0] for request in requests]
    in_pairs = [run(list(pair))[0] for pair in zip(requests, requests[1:] + requests[:1], strict=True)]
    return all(_same(alone, others) for others in (run(requests), run(requests[::-1])[::-1], in_pairs))


def _agree_in_padding(run: _Run, signature: Signature, trials: TrialRequests) -> bool:
    """Run requests that were sent with padding, as they are and with more padding, for a longer request beside them.

    Of outputs without a sequence axis also without any padding: those are what the server leaves padding out for.
    """
    short = tuple(spec.name for spec in signature.outputs.values() if not spec.sized_by)
    for steps in _STEPS:
        sizes = trials.sizes(steps)
        padded = trials.draw(3, sizes, lengths=(steps + 1) // 2)
        longer = trials.draw(2, trials.sizes(2 * steps + 3))
        (alone,) = run([padded])
        if not _same([alone], run([padded, longer])[:1]):
            return False
        if short:
            whole = CheckedRequest(3, sizes, sizes, signature.steps_of(sizes), padded.inputs, short)
            longest = signature.longest(sizes, padded.inputs, short)
            cut = CheckedRequest(3, sizes, longest, signature.steps_of(longest), padded.inputs, short)
            if not _same(run([whole]), run([cut])):
                return False
    return True


def _same(some: list[dict[str, Array]], others: list[dict[str, Array]]) -> bool:
    return all(
        array.tobytes() == other[name].tobytes()
        for one, other in zip(some, others, strict=True)
        for name, array in one.items()
    )
