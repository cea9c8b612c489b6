"""What is measured: every constant of the benchmark, in one table, and the figures to reach."""

import dataclasses

__all__ = [
    "ALL_SERVERS",
    "CONSTANT",
    "GRPC_AIO",
    "GRPC_SERVER",
    "LANE",
    "MODELS",
    "PUBLIC",
    "SCENARIOS",
    "SOAK",
    "TARGETS",
    "TRITON",
    "TRITON_RAGGED",
    "TWO_WORKERS",
    "Load",
    "Scenario",
    "Soak",
    "Target",
]

LANE, PUBLIC, TWO_WORKERS = "rnnserve lane", "rnnserve public", "rnnserve lane, 2 workers"
TRITON, TRITON_RAGGED = "Triton", "Triton ragged"
GRPC_AIO, GRPC_SERVER, CONSTANT = "grpc.aio", "grpc.server", "lane, constant"

_THAT_INFER = (LANE, TRITON, TRITON_RAGGED, PUBLIC, GRPC_AIO, GRPC_SERVER)
"""In this order they are asked, so that what is divided by one another stands side by side in time, too."""

ALL_SERVERS = (CONSTANT, *_THAT_INFER, TWO_WORKERS)

MODELS = {"hidden_16": 16, "hidden_128": 128}
"""The models under load, direction classifiers with random weights: name to hidden size."""


@dataclasses.dataclass(frozen=True)
class Load:
    """How a load generator is run.

    Attributes:
        client: "h2load" or "perf_analyzer".
        in_flight: How many requests are under way at once, where the load is a closed loop.
        connections: HTTP/2 connections of h2load; perf_analyzer keeps its own counsel.
        rate: Requests a second, arriving as a Poisson process; 0 for a closed loop.
        warm_up: Seconds before measuring.
        seconds: Of measuring.
        quick: The same with `--quick`.
    """

    client: str
    in_flight: int
    connections: int = 1
    rate: int = 0
    warm_up: float = 1.0
    seconds: float = 4.0
    quick: float = 1.5


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One piece of work, given to several servers.

    Attributes:
        name: For `--only`.
        title: For the table.
        model: One of `MODELS`.
        lengths: Shortest and longest sequence of the requests, each of one row.
        metrics: What of the client's figures is shown, in this order; the first is the one that is plotted.
        load: How it is asked for.
        servers: Who is asked.
        turns: In how many pieces a round is cut, each with a turn of every server: where one of 1.0 is told from one of
            0.9, many short turns say more than few long ones, since the machine's mood lasts for seconds.
    """

    name: str
    title: str
    model: str
    lengths: tuple[int, int]
    metrics: tuple[str, ...]
    load: Load
    servers: tuple[str, ...]
    turns: int = 1


SCENARIOS = (
    Scenario(
        "throughput",
        "input (1, 4, 2), hidden 16, 4 connections x 16 streams, h2load",
        "hidden_16",
        (4, 4),
        ("requests/s",),
        Load("h2load", in_flight=64, connections=4, warm_up=0.5, seconds=1.5),
        (CONSTANT, *_THAT_INFER),
        turns=3,
    ),
    Scenario(
        "alone",
        "input (1, 4, 2), hidden 16, one at a time, h2load",
        "hidden_16",
        (4, 4),
        ("p50 ms", "p99 ms"),
        Load("h2load", in_flight=1, warm_up=0.5, seconds=2.5, quick=1.0),
        (CONSTANT, *_THAT_INFER),
    ),
    Scenario(
        "lengths",
        "lengths 1 to 64, hidden 128, 32 in flight, logits only, perf_analyzer",
        "hidden_128",
        (1, 64),
        ("inferences/s", "p50 ms", "p99 ms"),
        Load("perf_analyzer", in_flight=32, seconds=4.5),
        (TWO_WORKERS, *_THAT_INFER),
    ),
    Scenario(
        "poisson",
        "lengths 1 to 64, hidden 128, Poisson arrivals at 4,000/s, logits only, perf_analyzer",
        "hidden_128",
        (1, 64),
        ("p99 ms", "p50 ms", "inferences/s"),
        Load("perf_analyzer", in_flight=0, rate=4000, seconds=4.5),
        _THAT_INFER,
    ),
)
"""Beside these there are `start` (start to ready, with three models) and `soak` (memory over many requests)."""


@dataclasses.dataclass(frozen=True)
class Soak:
    """How memory is watched.

    Attributes:
        settle: Requests before the first look at resident memory.
        requests: In all.
        looks: How often it is looked at behind `settle`.
    """

    settle: int
    requests: int
    looks: int


SOAK = Soak(settle=50_000, requests=1_000_000, looks=19)


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure to reach.

    Attributes:
        scenario: Its name, or "start" or "soak".
        metric: Of the scenario.
        server: Whose figure it is.
        against: The server whose figure it is divided by; None for a figure that stands for itself.
        at_least: The least that the figure may be, or None.
        at_most: The most, or None.
    """

    scenario: str
    metric: str
    server: str = LANE
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, figure: float) -> bool:
        """Whether a figure reaches it."""
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)

    def __str__(self) -> str:
        wanted = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{wanted} x {self.against}" if self.against else wanted


TARGETS = (
    Target("throughput", "requests/s", against=TRITON, at_least=1.8),
    Target("throughput", "requests/s", against=CONSTANT, at_least=0.9),
    Target("alone", "p50 ms", against=TRITON, at_most=0.6),
    Target("lengths", "inferences/s", against=TRITON, at_least=2.5),
    Target("lengths", "inferences/s", against=TRITON_RAGGED, at_least=1.35),
    Target("lengths", "p99 ms", against=TRITON, at_most=0.5),
    Target("lengths", "p99 ms", against=TRITON_RAGGED, at_most=0.7),
    Target("lengths", "inferences/s", server=TWO_WORKERS, against=LANE, at_least=1.0),
    Target("poisson", "p99 ms", against=TRITON_RAGGED, at_most=0.6),
    Target("soak", "growth MB", at_most=5),
    Target("start", "ready s", at_most=1.5),
    Target("start", "resident MB", at_most=200),
    Target("start", "torch files mapped", at_most=0),
)
