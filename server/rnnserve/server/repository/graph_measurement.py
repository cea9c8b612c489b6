"""What a run costs on each graph of a version, at sizes that runs have."""

import math
import time
from collections.abc import Mapping

from rnnserve.server.batching.batch_arrays import join
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_requests import TrialRequests

__all__ = ["measure_graphs"]

_SIZES = ((2, 1), (2, 8), (2, 64), (32, 1), (32, 8), (32, 64))
"""Rows and steps: a request alone, and a batch; a step of a session, a short sequence and a long one."""

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 9
_SECONDS = 0.03
"""After how long no further round is begun: large models, whose runs last long, vary less."""


def measure_graphs(models: Mapping[str, Model], trials: TrialRequests) -> dict[str, dict[str, float]]:
    """Time runs of several sizes on each graph, by turns; of each the shortest run counts.

    Args:
        models: The version on each of its graphs, by the graph's name.
        trials: Draws its requests: of many rows some end before the last step, where a run of requests has such.

    Returns:
        Microseconds by the graph's name, and by size, as in `GraphChoice`.
    """
    signature = next(iter(models.values())).signature
    names = list(signature.outputs)
    feeds = {}
    for rows, steps in _SIZES:
        sizes = trials.sizes(steps)
        request = trials.draw(trials.rows(rows), sizes, lengths="drawn" if rows > 2 and signature.is_padded else "")
        feeds[f"{request.batch}x{signature.steps_of(sizes)}"] = join([request], signature)
    shortest = {graph: dict.fromkeys(feeds, math.inf) for graph in models}
    began = time.perf_counter()
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() - began > _SECONDS:
            break
        for size, arrays in feeds.items():
            for graph, model in models.items():
                started = time.perf_counter()
                model.run_arrays(names, arrays)
                shortest[graph][size] = min(shortest[graph][size], time.perf_counter() - started)
    return {
        graph: {size: round(1e6 * cost, 1) for size, cost in by_size.items()} for graph, by_size in shortest.items()
    }
