"""The clients of gRPC, with what each of them does not offer."""

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks.environments import PERF_ANALYZER, Environment
from campaigns.conformance.environments import ROOT, ClientEnvironment, CppProgram, NodeProgram, PythonProgram
from campaigns.conformance.features import FEATURES, Feature

__all__ = ["CLIENTS", "FOLDER", "TRITON", "Client", "lacking"]

FOLDER = ROOT / ".venv-conformance"


@dataclasses.dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: What `--client` calls it.
        title: What the table calls it.
        environment: Where its program runs.
        lacks: What it does not offer: reasons by the features' names.
        features: What it is tried with.
    """

    name: str
    title: str
    environment: ClientEnvironment
    lacks: Mapping[str, str]
    features: Sequence[Feature] = FEATURES


def lacking(reasons: Mapping[str, str]) -> dict[str, str]:
    """From reasons and the names of features, separated by spaces, to reasons by feature."""
    return {name: reason for reason, names in reasons.items() for name in names.split()}


TRITON = Environment(FOLDER / "tritonclient", ("tritonclient[grpc]==2.73.0",), "tritonclient")
_KSERVE = Environment(FOLDER / "kserve", ("kserve==0.21.0",), "KServe's SDK")

_NOT_OF_TRITON = {
    "it leaves shapes as they are": "batch-option",
    "it has no health service": "health-check health-watch health-list",
    "it has its own stubs": "reflection",
    "its exception has the message and the status only": "error-details",
}
_NOT_BUT_OF_PERF_ANALYZER = {"it leaves shapes as they are": "batch-option"}

CLIENTS = (
    Client("tritonclient", "tritonclient", PythonProgram(TRITON, "triton_sync"), lacking(_NOT_OF_TRITON)),
    Client(
        "tritonclient-aio",
        "tritonclient (asyncio)",
        PythonProgram(TRITON, "triton_aio"),
        lacking(
            _NOT_OF_TRITON
            | {
                "its requests are raw; the synchronous client's package has the stubs": "infer-typed",
            }
        ),
    ),
    Client(
        "perf-analyzer",
        "perf\\_analyzer",
        PythonProgram(PERF_ANALYZER, "perf_analyzer"),
        lacking(
            {
                "it asks for these before it measures, and shows none of them": "live ready server-metadata "
                "model-metadata model-config",
                "it sends raw contents only": "infer-typed",
                "it asks for all outputs, and shows none": "outputs classification",
                "it shows no answers": "id error-details stream-final stream-error stream-end",
                "it has no option for it": "headers deadline cancellation keepalive index load load-closed "
                "load-config memory-status trace-settings log-settings log-change",
                "it has no health service": "health-check health-watch health-list",
                "it has its own stubs": "reflection",
            }
        ),
    ),
    Client(
        "kserve",
        "KServe's SDK",
        PythonProgram(_KSERVE, "kserve_sdk"),
        lacking(
            _NOT_BUT_OF_PERF_ANALYZER
            | {
                "its proto has no such method": "model-config stream stream-final stream-error stream-end "
                "sequence-stream statistics index memory-status memory-register trace-settings trace-change "
                "log-settings log-change health-check health-watch health-list",
                "its proto's request has the name only": "load-config",
                "it has its own stubs": "reflection",
            }
        ),
    ),
    Client(
        "grpc-js",
        "grpc-js",
        NodeProgram(
            FOLDER / "grpc-js",
            ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1", "grpc-js-reflection-client@1.4.2"),
            "grpc_js.cjs",
        ),
        lacking(_NOT_BUT_OF_PERF_ANALYZER),
    ),
    Client(
        "connect",
        "Connect",
        NodeProgram(
            FOLDER / "connect",
            ("@connectrpc/connect-node@2.1.2", "@connectrpc/connect@2.1.2", "@bufbuild/protobuf@2.17.0"),
            "connect.mjs",
        ),
        lacking(_NOT_BUT_OF_PERF_ANALYZER | {"it takes descriptors, and asks for none": "reflection"}),
    ),
    Client(
        "cpp",
        "C++",
        CppProgram(FOLDER / "cpp", ("cpp.cc", "cpp_trial.h")),
        lacking(_NOT_BUT_OF_PERF_ANALYZER | {"its reflection database is another library": "reflection"}),
    ),
)
"""In the order of the table's columns. Those of HTTP are in `http_clients.py`."""
