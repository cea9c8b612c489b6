"""What a model has done, as numbers with names."""

from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places


def numbers(statistics: Statistics, *names: str) -> Any:
    """The numbers of these names since the model was loaded: one, or a tuple of several."""
    counts = statistics.since_loaded()
    of_names = SimpleNamespace(
        requests=round(counts[places.ANSWERED]),
        failures=round(counts[places.FAILED]),
        dropped=round(counts[places.DROPPED]),
        runs=round(places.runs(counts)),
        rows=round(counts[places.ROWS]),
        run_seconds=counts[places.REQUEST_RUN_SECONDS],
        wait_seconds=counts[places.WAIT_SECONDS],
        failed_seconds=counts[places.FAILED_SECONDS],
    )
    return attrgetter(*names)(of_names)
