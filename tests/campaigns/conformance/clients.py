"""The clients, and the features that each of them lacks."""

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks.environments import PERF_ANALYZER, Environment
from campaigns.conformance.environments import ROOT, NodeProgram, PythonProgram
from campaigns.conformance.features import FEATURES, HTTP_FEATURES, Feature

FOLDER = ROOT / ".venv-conformance"


@dataclasses.dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: The client's name in tests.
        title: The client's name in the documentation.
        environment: The environment in which its program runs.
        lacks: Features that the client doesn't offer: the reason by the feature's name.
        features: Features that the test tries.
    """

    name: str
    title: str
    environment: PythonProgram | NodeProgram
    lacks: Mapping[str, str]
    features: Sequence[Feature] = FEATURES


def _lacking(reasons: Mapping[str, str]) -> dict[str, str]:
    """Map reasons with space-separated feature names to reasons by feature."""
    return {name: reason for reason, names in reasons.items() for name in names.split()}


_TRITON = Environment(FOLDER / "tritonclient", ("tritonclient[grpc]==2.73.0",), "tritonclient")
_TRITON_HTTP = Environment(FOLDER / "tritonclient-http", ("tritonclient[http]==2.73.0",), "tritonclient over HTTP")

_NODE_OF_GRPC = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1", "grpc-js-reflection-client@1.4.2")

_NOT_BUT_OF_PERF_ANALYZER = {"it leaves shapes as they are": "batch-option"}
_NOT_OF_TRITON = _NOT_BUT_OF_PERF_ANALYZER | {
    "it has no health service": "health-check health-watch health-list",
    "it has its own stubs": "reflection",
    "its exception has the message and the status only": "error-details",
}
_NOT_OF_PERF_ANALYZER = {
    "it asks for these before it measures, and shows none of them": "live ready server-metadata model-metadata "
    "model-config",
    "it sends raw contents only": "infer-typed",
    "it asks for all outputs, and shows none": "outputs classification",
    "it shows no answers": "id error-details stream-final stream-error stream-end",
    "it has no option for it": "headers deadline cancellation keepalive index load load-closed load-config "
    "memory-status trace-settings log-settings log-change",
    "it has no health service": "health-check health-watch health-list",
    "it has its own stubs": "reflection",
}
_NOT_OF_TRITON_HTTP = {"it has no method for it": "models metrics"}
_NOT_OF_FETCH = {
    "it trusts what its process's environment names": "tls",
    "it chooses among its connections itself": "sequence",
}


def _grpc(name: str, title: str, environment: PythonProgram | NodeProgram, lacks: Mapping[str, str]) -> Client:
    return Client(name, title, environment, _lacking(lacks))


def _http(name: str, title: str, environment: PythonProgram | NodeProgram, lacks: Mapping[str, str]) -> Client:
    return Client(name, title, environment, _lacking(lacks), HTTP_FEATURES)


GRPC_CLIENTS = (
    _grpc("tritonclient", "tritonclient", PythonProgram(_TRITON, "triton_grpc"), _NOT_OF_TRITON),
    _grpc("perf-analyzer", "perf\\_analyzer", PythonProgram(PERF_ANALYZER, "perf_analyzer"), _NOT_OF_PERF_ANALYZER),
    _grpc(
        "grpc-js", "grpc-js", NodeProgram(FOLDER / "grpc-js", _NODE_OF_GRPC, "grpc_js.cjs"), _NOT_BUT_OF_PERF_ANALYZER
    ),
)

HTTP_CLIENTS = (
    _http("tritonclient-http", "tritonclient", PythonProgram(_TRITON_HTTP, "triton_http"), _NOT_OF_TRITON_HTTP),
    _http("fetch", "Node's fetch", NodeProgram(FOLDER / "fetch", (), "fetch.mjs"), _NOT_OF_FETCH),
)

CLIENTS = (*GRPC_CLIENTS, *HTTP_CLIENTS)
"""In the order of the documentation's tables."""
