"""The sizes that grow: their points, the load at each point, and the bound of the cost."""

import dataclasses
from collections.abc import Callable

from benchmarks.server_names import CONSTANT, SESSION_RUN

HIDDEN_SIZES = (16, 32, 64, 128, 256, 512, 1024)
MODEL_COUNTS = (1, 10, 50, 100, 200, 500)
BARE_SESSIONS = "bare sessions"

COST = "µs a request"
"""The time divided by the number of responses: the inverse of the rate."""

CPU = "CPU µs"
"""The server's processor time divided by its requests, in user mode and in the kernel."""

ROWS_A_RUN = "rows a run"
"""Rows divided by inference calls of the model: the mean size of a batch."""

_COSTS = (COST, CPU, ROWS_A_RUN, "p50 ms", "p99 ms")
_MODEL_COSTS = (
    "ready ms",
    "resident MB",
    f"one model: {COST}",
    f"all models: {CPU}",
    f"all models: {ROWS_A_RUN}",
    "scrape ms",
)


def model_of(hidden: int) -> str:
    """Return the name of the measured model with a hidden size: an `nn.RNN` with random weights."""
    return f"rnn_{hidden}"


def copy_name(number: int) -> str:
    """Return the name of a copy of the smallest model. Numbers begin at 0."""
    return f"copy_{number:03d}"


@dataclasses.dataclass(frozen=True)
class Load:
    """A closed loop of equal requests.

    Attributes:
        hidden: Hidden size of the model.
        length: Steps of each row.
        rows: Rows of each request.
        in_flight: Requests in flight at once, a multiple of `connections`.
        connections: HTTP/2 connections.
    """

    hidden: int = 16
    length: int = 4
    rows: int = 1
    in_flight: int = 16
    connections: int = 4


@dataclasses.dataclass(frozen=True)
class Size:
    """A size that grows.

    Attributes:
        name: Name for `--only`.
        title: Title of the table.
        points: Its values.
        quick: Its values with `--quick`.
        bound: The bound of the cost. `CONSTANT` of `server_names` has the same load. `SESSION_RUN` has all rows in
            flight as one batch, and its figure is the median of its inference calls. `BARE_SESSIONS` is for the number
            of models.
        load: The load at a value. None for the number of models, because `many_models` measures it.
        metrics: The metrics in the table.
    """

    name: str
    title: str
    points: tuple[int, ...]
    quick: tuple[int, ...]
    bound: str
    load: Callable[[int], Load] | None = None
    metrics: tuple[str, ...] = _COSTS


SIZES = (
    Size(
        "in_flight",
        "requests in flight, on up to 4 connections; input (1, 4, 2), hidden 16",
        (1, 4, 16, 64, 128, 256, 512, 1024),
        (1, 64, 1024),
        CONSTANT,
        lambda x: Load(in_flight=x, connections=min(x, 4)),
    ),
    Size(
        "connections",
        "connections with one request in flight each; input (1, 4, 2), hidden 16",
        (1, 4, 16, 64, 256, 1000, 2000, 5000),
        (1, 256, 2000),
        CONSTANT,
        lambda x: Load(in_flight=x, connections=x),
    ),
    Size(
        "length",
        "steps of a request; input (1, steps, 2), hidden 128, 16 in flight",
        (1, 4, 16, 64, 256, 1024, 4096),
        (1, 64, 1024),
        SESSION_RUN,
        lambda x: Load(hidden=128, length=x),
    ),
    Size(
        "hidden",
        "hidden size; input (1, 16, 2), 16 in flight",
        HIDDEN_SIZES,
        (16, 128, 512),
        SESSION_RUN,
        lambda x: Load(hidden=x, length=16),
    ),
    Size(
        "models",
        "models, copies of one with hidden 16; input (1, 4, 2), 64 in flight to one of them, then all of them in turn",
        MODEL_COUNTS,
        (1, 20),
        BARE_SESSIONS,
        metrics=_MODEL_COSTS,
    ),
    Size(
        "rows",
        "rows of a request; input (rows, 4, 2), hidden 16, 4 in flight",
        (1, 4, 16, 64, 256, 1024, 4096),
        (1, 64, 1024),
        SESSION_RUN,
        lambda x: Load(rows=x, in_flight=4),
    ),
)
