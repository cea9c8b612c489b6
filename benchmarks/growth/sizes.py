"""The sizes that grow: their points, the load at each point, and what bounds the cost."""

import dataclasses
from collections.abc import Callable

from benchmarks.server_names import CONSTANT, SESSION_RUN

__all__ = [
    "COST",
    "CPU",
    "HIDDEN_SIZES",
    "MODELS",
    "MODEL_COUNTS",
    "ROWS_A_RUN",
    "SIZES",
    "Load",
    "Metric",
    "Size",
    "copy_name",
    "model_of",
]

HIDDEN_SIZES = (16, 32, 64, 128, 256, 512, 1024)

COST = "µs a request"
"""The time divided by the answered requests: the inverse of the rate."""

CPU = "CPU µs"
"""The server's processor time divided by its requests, in user mode and in the kernel."""

ROWS_A_RUN = "rows a run"
"""Rows divided by runs of the model: how large the batches were."""


def model_of(hidden: int) -> str:
    """Return the name of the measured model with a hidden size: an `nn.RNN` with random weights."""
    return f"rnn_{hidden}"


def copy_name(number: int) -> str:
    """Return the name of a copy of the smallest model, from 0 on."""
    return f"copy_{number:03d}"


@dataclasses.dataclass(frozen=True)
class Load:
    """A closed loop of equal requests.

    Attributes:
        hidden: Hidden size of the model.
        length: Steps of each row.
        rows: Rows of each request.
        in_flight: Requests under way at once, a multiple of `connections`.
        connections: HTTP/2 connections.
    """

    hidden: int = 16
    length: int = 4
    rows: int = 1
    in_flight: int = 16
    connections: int = 4


@dataclasses.dataclass(frozen=True)
class Metric:
    """A cost that is shown.

    Attributes:
        name: Its name, with the unit.
        unit: The unit in the words about its slope, for example "µs".
        is_plotted: Whether it has a panel in the plot, and a slope.
    """

    name: str
    unit: str
    is_plotted: bool = False


@dataclasses.dataclass(frozen=True)
class Size:
    """A size that grows.

    Attributes:
        name: Name for `--only`, and of the plot's file.
        title: Title of the table: what is measured.
        each: One more of it, in words about a slope: "step".
        points: Its values.
        quick: Its values with `--quick`.
        load: The load at a value; None for the number of models, which is measured in its own way.
        bound: What bounds the cost: `CONSTANT` of `server_names`, at the same load, or `SESSION_RUN`, with all rows
            in flight as one batch, and the median of its runs; for the number of models, bare onnxruntime sessions.
        metrics: What is shown.
    """

    name: str
    title: str
    each: str
    points: tuple[int, ...]
    quick: tuple[int, ...]
    load: Callable[[int], Load] | None
    bound: str
    metrics: tuple[Metric, ...]


MODELS, MODEL_COUNTS = "models", (1, 10, 50, 100, 200, 500)
_BARE_SESSIONS = "bare sessions"

_COSTS = (
    Metric(COST, "µs", is_plotted=True),
    Metric(CPU, "µs"),
    Metric(ROWS_A_RUN, "rows"),
    Metric("p50 ms", "ms"),
    Metric("p99 ms", "ms"),
)
_MODEL_COSTS = (
    Metric("ready ms", "ms", is_plotted=True),
    Metric("resident MB", "MB", is_plotted=True),
    Metric(f"one model: {COST}", "µs", is_plotted=True),
    Metric(f"all models: {CPU}", "µs", is_plotted=True),
    Metric(f"all models: {ROWS_A_RUN}", "rows"),
)


SIZES = (
    Size(
        "in_flight",
        "requests in flight, on up to 4 connections; input (1, 4, 2), hidden 16",
        "request in flight",
        (1, 4, 16, 64, 128, 256, 512, 1024),
        (1, 64, 1024),
        lambda x: Load(in_flight=x, connections=min(x, 4)),
        CONSTANT,
        _COSTS,
    ),
    Size(
        "connections",
        "connections with one request in flight each; input (1, 4, 2), hidden 16",
        "connection",
        (1, 4, 16, 64, 256, 1000, 2000, 5000),
        (1, 256, 2000),
        lambda x: Load(in_flight=x, connections=x),
        CONSTANT,
        _COSTS,
    ),
    Size(
        "length",
        "steps of a request; input (1, steps, 2), hidden 128, 16 in flight",
        "step",
        (1, 4, 16, 64, 256, 1024, 4096),
        (1, 64, 1024),
        lambda x: Load(hidden=128, length=x),
        SESSION_RUN,
        _COSTS,
    ),
    Size(
        "hidden",
        "hidden size; input (1, 16, 2), 16 in flight",
        "hidden unit",
        HIDDEN_SIZES,
        (16, 128, 512),
        lambda x: Load(hidden=x, length=16),
        SESSION_RUN,
        _COSTS,
    ),
    Size(
        MODELS,
        "models, copies of one with hidden 16; input (1, 4, 2), 64 in flight to one of them, then 32 in flight to all",
        "model",
        MODEL_COUNTS,
        (1, 20),
        None,
        _BARE_SESSIONS,
        _MODEL_COSTS,
    ),
    Size(
        "rows",
        "rows of a request; input (rows, 4, 2), hidden 16, 4 in flight",
        "row",
        (1, 4, 16, 64, 256, 1024, 4096),
        (1, 64, 1024),
        lambda x: Load(rows=x, in_flight=4),
        SESSION_RUN,
        _COSTS,
    ),
)
