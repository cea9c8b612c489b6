"""The scenarios with their constants, and the performance goals."""

import dataclasses

from benchmarks.server_names import (
    ALONE,
    BESIDE_HTTP,
    BESIDE_JSON,
    CONSTANT,
    FAST_PATH,
    HTTP,
    HTTP_SERVERS,
    HTTP_TWO,
    INFERENCE_SERVERS,
    LITSERVE,
    MLSERVER,
    MODEL_LIMITS,
    MOSEC,
    NATIVE,
    TRITON,
    TRITON_HTTP,
    TRITON_RAGGED,
    TRITON_SEQUENCES,
    TWO_WORKERS,
    UNASKED_TOKENS,
    WITH_TOKENS,
)

SOAK_REQUESTS, SOAK_SETTLED, SOAK_READINGS = 1_000_000, 50_000, 19
"""Requests of `soak`, requests before the first reading of resident memory, and number of later readings."""

STARTED_ANEW = (TRITON_SEQUENCES,)
"""Servers that are started again before each turn: Triton's sequence batcher dies of signal 11 with a second client."""

_SEQUENCE_SERVERS = (FAST_PATH, TRITON_SEQUENCES)

_CELL_SERVERS = (FAST_PATH, NATIVE, TRITON, TRITON_RAGGED, *MODEL_LIMITS)

MODELS = {f"hidden_{hidden}": ("rnn", hidden) for hidden in (16, 128, 512)} | {
    f"{cell}_{hidden}": (cell, hidden) for cell in ("gru", "lstm") for hidden in (128, 512)
}
"""Cell and hidden size of each measured model, by name. The models are direction classifiers with random weights."""


@dataclasses.dataclass(frozen=True)
class LoadSettings:
    """Settings of a load generator.

    Attributes:
        generator: "h2load" or "perf_analyzer", for gRPC; or the form of h2load's HTTP/1.1 requests, "json" or "binary",
            or "start", to start a server in each turn, or "soak", to send `SOAK_REQUESTS` and watch its memory.
        in_flight: Number of requests in flight at once, for a closed loop.
        connections: Number of connections of h2load. perf_analyzer chooses its number itself. HTTP/1.1 has one
            connection for each request in flight.
        steps: Requests of one sequence, each a point on a stream, with the states on the server. 0 for independent
            requests. Only for perf_analyzer.
        rate: Requests per second, arriving as a Poisson process. 0 for a closed loop.
        warm_up: Seconds of load before the measurement. Only h2load uses them.
        seconds: Seconds of the measurement.
        quick: Seconds of the measurement with `--quick`.
    """

    generator: str
    in_flight: int
    connections: int = 1
    rate: int = 0
    steps: int = 0
    warm_up: float = 1.0
    seconds: float = 4.0
    quick: float = 1.5


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A kind of load for the measurement of several servers.

    Attributes:
        name: Name for `--only`.
        title: Title for the table.
        model: Name of the model, one of `MODELS`.
        lengths: Shortest and longest sequence of the requests, in points. Each request has one row.
        metrics: The load generator's metrics for the table, in this order.
        load: Settings of the load generator.
        servers: Names of the measured servers.
        turns: Number of parts of a round. Each server has a turn in each part. Many short turns distinguish ratios of
            1.0 and 0.9 better than few long ones, because the speed of the machine changes over seconds.
    """

    name: str
    title: str
    model: str
    lengths: tuple[int, int]
    metrics: tuple[str, ...]
    load: LoadSettings
    servers: tuple[str, ...]
    turns: int = 1


CPU_METRIC, FRONT_CPU_METRIC = "CPU µs", "gateway CPU µs"
"""The server's processor time per request, for all its processes and for its HTTP processes. It depends less on other
work on the machine than rates do."""

_HTTP_METRICS = ("requests/s", "p50 ms", FRONT_CPU_METRIC, CPU_METRIC)
START_METRICS = ("ready s", "resident MB", "torch files mapped")

SCENARIOS = (
    Scenario(
        "throughput",
        "input (1, 4, 2), hidden 16, 4 connections x 16 streams, h2load",
        "hidden_16",
        (4, 4),
        ("requests/s",),
        LoadSettings("h2load", in_flight=64, connections=4, warm_up=0.5, seconds=1.5),
        (CONSTANT, *INFERENCE_SERVERS, *MODEL_LIMITS),
        turns=3,
    ),
    Scenario(
        "crowd",
        "input (1, 4, 2), hidden 16, 16 connections x 16 streams, h2load",
        "hidden_16",
        (4, 4),
        ("requests/s",),
        LoadSettings("h2load", in_flight=256, connections=16, warm_up=0.5, seconds=1.5),
        (FAST_PATH, NATIVE, TRITON),
        turns=3,
    ),
    Scenario(
        "alone",
        "input (1, 4, 2), hidden 16, one at a time, h2load",
        "hidden_16",
        (4, 4),
        ("p50 ms", "p99 ms"),
        LoadSettings("h2load", in_flight=1, warm_up=0.5, seconds=2.5, quick=1.0),
        (CONSTANT, *INFERENCE_SERVERS, *MODEL_LIMITS),
    ),
    Scenario(
        "lengths",
        "lengths 1 to 64, hidden 128, 32 in flight, logits only, perf_analyzer",
        "hidden_128",
        (1, 64),
        ("inferences/s", "p50 ms", "p99 ms"),
        LoadSettings("perf_analyzer", in_flight=32, seconds=4.5),
        (TWO_WORKERS, *INFERENCE_SERVERS, *MODEL_LIMITS),
    ),
    *(
        Scenario(
            f"lengths_{model}",
            f"lengths 1 to 64, {cell.upper()}, hidden {hidden}, 32 in flight, logits only, perf_analyzer",
            model,
            (1, 64),
            ("inferences/s", "p50 ms", "p99 ms"),
            LoadSettings("perf_analyzer", in_flight=32, seconds=3.0),
            _CELL_SERVERS,
        )
        for model, (cell, hidden) in MODELS.items()
        if model not in ("hidden_16", "hidden_128")
    ),
    Scenario(
        "poisson",
        "lengths 1 to 64, hidden 128, Poisson arrivals at 4,000/s, logits only, perf_analyzer",
        "hidden_128",
        (1, 64),
        ("p99 ms", "p50 ms", "inferences/s"),
        LoadSettings("perf_analyzer", in_flight=0, rate=4000, seconds=4.5),
        INFERENCE_SERVERS,
    ),
    Scenario(
        "steps",
        "one point a message on streams, 32 sequences at once, hidden 128, perf_analyzer",
        "hidden_128",
        (1, 8),
        ("inferences/s", "p50 ms", "p99 ms"),
        LoadSettings("perf_analyzer", in_flight=32, steps=100, seconds=4.5),
        _SEQUENCE_SERVERS,
    ),
    Scenario(
        "steps_gru",
        "one point a message on streams, 32 sequences at once, GRU, hidden 128, perf_analyzer",
        "gru_128",
        (1, 8),
        ("inferences/s", "p50 ms", "p99 ms"),
        LoadSettings("perf_analyzer", in_flight=32, steps=100, seconds=4.5),
        _SEQUENCE_SERVERS,
    ),
    Scenario(
        "one_sequence",
        "one point a message on a stream, one sequence at a time, hidden 128, perf_analyzer",
        "hidden_128",
        (1, 8),
        ("inferences/s", "p50 ms", "p99 ms"),
        LoadSettings("perf_analyzer", in_flight=1, steps=100, seconds=4.5),
        _SEQUENCE_SERVERS,
    ),
    Scenario(
        "http_json",
        "HTTP, JSON, input (1, 4, 2), hidden 16, 32 in flight, h2load",
        "hidden_16",
        (4, 4),
        _HTTP_METRICS,
        LoadSettings("json", in_flight=32, connections=32, warm_up=0.0, seconds=1.5),
        (*HTTP_SERVERS, HTTP_TWO, MLSERVER, LITSERVE),
        turns=2,
    ),
    Scenario(
        "http_binary",
        "HTTP, binary tensors, input (1, 4, 2), hidden 16, 32 in flight, h2load",
        "hidden_16",
        (4, 4),
        _HTTP_METRICS,
        LoadSettings("binary", in_flight=32, connections=32, warm_up=0.0, seconds=1.5),
        (*HTTP_SERVERS, HTTP_TWO),
        turns=2,
    ),
    Scenario(
        "http_alone",
        "HTTP, JSON, input (1, 4, 2), hidden 16, one at a time, h2load",
        "hidden_16",
        (4, 4),
        ("p50 ms", "p99 ms", *_HTTP_METRICS[2:]),
        LoadSettings("json", in_flight=1, warm_up=0.0, seconds=2.0, quick=1.0),
        HTTP_SERVERS,
    ),
    Scenario(
        "http_idle",
        "gRPC with and without HTTP beside it, 4 connections x 16 streams, h2load",
        "hidden_16",
        (4, 4),
        ("requests/s", "p99 ms"),
        LoadSettings("h2load", in_flight=64, connections=4, warm_up=0.5, seconds=1.5),
        (FAST_PATH, BESIDE_HTTP),
        turns=3,
    ),
    Scenario(
        "tokens",
        "a token with each call, asked for or not, and none, 4 connections x 16 streams, h2load",
        "hidden_16",
        (4, 4),
        ("requests/s", "p50 ms", "p99 ms", CPU_METRIC),
        LoadSettings("h2load", in_flight=64, connections=4, warm_up=0.5, seconds=1.5),
        (WITH_TOKENS, UNASKED_TOKENS, FAST_PATH),
        turns=3,
    ),
    Scenario(
        "start",
        "start to ready, three models",
        "three_models",
        (4, 4),
        START_METRICS,
        LoadSettings("start", in_flight=0),
        (FAST_PATH,),
    ),
    Scenario(
        "http_large",
        "gRPC, one at a time, alone and beside two clients that post 16 MiB of JSON without a pause",
        "hidden_16",
        (4, 4),
        ("p50 ms", "p99 ms", "max ms"),
        LoadSettings("h2load", in_flight=1, warm_up=0.2, seconds=5.0, quick=2.0),  # some posts end in each turn
        (ALONE, BESIDE_JSON),
    ),
    Scenario(
        "soak",
        f"{SOAK_REQUESTS:,} requests, memory from the first {SOAK_SETTLED:,} on",
        "hidden_16",
        (4, 4),
        ("growth MB", "resident MB", "requests"),
        LoadSettings("soak", in_flight=64, connections=4),
        (FAST_PATH,),
    ),
)


@dataclasses.dataclass(frozen=True)
class PerformanceGoal:
    """A limit that a metric, or a ratio of two servers' metrics, should keep.

    Attributes:
        scenario: Name of the scenario.
        metric: Name of the metric.
        server: Name of the measured server.
        against: Name of the server whose metric is the divisor; None for the metric itself.
        at_least: Lower limit, or None.
        at_most: Upper limit, or None.
    """

    scenario: str
    metric: str
    server: str = FAST_PATH
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Return whether a metric or ratio keeps the limit."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        limit = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{limit} x {self.against}" if self.against else limit


GOALS = (
    PerformanceGoal("throughput", "requests/s", against=TRITON, at_least=1.8),
    PerformanceGoal("throughput", "requests/s", against=CONSTANT, at_least=0.9),
    PerformanceGoal("throughput", "requests/s", server=NATIVE, against=TRITON, at_least=3),
    PerformanceGoal("crowd", "requests/s", server=NATIVE, against=TRITON, at_least=4),
    PerformanceGoal("alone", "p50 ms", against=TRITON, at_most=0.6),
    PerformanceGoal("alone", "p50 ms", server=NATIVE, against=TRITON, at_most=0.25),
    PerformanceGoal("lengths", "inferences/s", against=TRITON, at_least=2.5),
    PerformanceGoal("lengths", "inferences/s", against=TRITON_RAGGED, at_least=1.35),
    PerformanceGoal("lengths", "inferences/s", server=NATIVE, against=TRITON, at_least=4.5),
    PerformanceGoal("lengths", "inferences/s", server=NATIVE, against=TRITON_RAGGED, at_least=2.3),
    PerformanceGoal("lengths_gru_128", "inferences/s", server=NATIVE, against=TRITON_RAGGED, at_least=1.9),
    PerformanceGoal("lengths", "p99 ms", against=TRITON, at_most=0.5),
    PerformanceGoal("lengths", "p99 ms", against=TRITON_RAGGED, at_most=0.7),
    PerformanceGoal("lengths", "inferences/s", server=TWO_WORKERS, against=FAST_PATH, at_least=1.0),
    PerformanceGoal("poisson", "p99 ms", against=TRITON_RAGGED, at_most=0.6),
    PerformanceGoal("steps", "inferences/s", against=TRITON_SEQUENCES, at_least=2.5),
    PerformanceGoal("steps", "p50 ms", against=TRITON_SEQUENCES, at_most=0.5),
    PerformanceGoal("steps_gru", "inferences/s", against=TRITON_SEQUENCES, at_least=2.5),
    PerformanceGoal("steps_gru", "p50 ms", against=TRITON_SEQUENCES, at_most=0.5),
    PerformanceGoal("one_sequence", "inferences/s", against=TRITON_SEQUENCES, at_least=2.0),
    PerformanceGoal("one_sequence", "p50 ms", against=TRITON_SEQUENCES, at_most=0.5),
    *(
        PerformanceGoal("http_json", "requests/s", server=HTTP, against=peer, at_least=least)
        for peer, least in ((LITSERVE, 4), (MLSERVER, 4), (MOSEC, 0.5), (TRITON_HTTP, 0.8))
    ),
    PerformanceGoal("http_binary", "requests/s", server=HTTP, against=MOSEC, at_least=0.5),
    PerformanceGoal("http_binary", "requests/s", server=HTTP, against=TRITON_HTTP, at_least=0.8),
    PerformanceGoal("http_idle", "requests/s", server=BESIDE_HTTP, against=FAST_PATH, at_least=0.97),
    PerformanceGoal("http_large", "p50 ms", server=BESIDE_JSON, against=ALONE, at_most=2),
    PerformanceGoal("http_large", "max ms", server=BESIDE_JSON, at_most=1000),
    PerformanceGoal("soak", "growth MB", at_most=5),
    PerformanceGoal("start", "ready s", at_most=1.5),
    PerformanceGoal("start", "resident MB", at_most=200),
    PerformanceGoal("start", "torch files mapped", at_most=0),
)
