"""The clients of HTTP, with what each of them does not offer."""

from benchmarks.environments import Environment
from campaigns.conformance.clients import FOLDER, Client, lacking
from campaigns.conformance.environments import ClientEnvironment, NodeProgram, PythonProgram
from campaigns.conformance.features import HTTP_FEATURES

__all__ = ["HTTP_CLIENTS"]

_TRITON = Environment(FOLDER / "tritonclient-http", ("tritonclient[http]==2.73.0",), "tritonclient over HTTP")
_KSERVE = Environment(FOLDER / "kserve", ("kserve==0.21.0",), "KServe's SDK")
_MLSERVER = Environment(FOLDER / "mlserver", ("mlserver==1.7.1",), "MLServer's command")
_REQUESTS = Environment(FOLDER / "requests", ("requests==2.34.2", "numpy"), "requests")
_HTTPX = Environment(FOLDER / "httpx", ("httpx==0.28.1", "numpy"), "httpx")

_NOT_OF_TRITON = {
    "it has no method for it": "models metrics",
}


_NOT_OF_METHODS = "statistics index load load-closed load-config metrics"
_NOT_OF_KSERVE = {
    "it has no method for it": f"server-metadata models model-metadata model-config {_NOT_OF_METHODS}",
    "it compresses nothing": "compressed-requests",
}
_NOT_OF_MLSERVER = {
    "it sends inference requests only": f"live ready server-metadata models model-metadata model-config "
    f"{_NOT_OF_METHODS}",
    "it sends tensors and names of outputs": "classification timeout priority parameters sequence sequence-key carried",
    "it takes batches apart by the outputs of single requests": "outputs",
    "it has no option for it": "compressed-requests",
}


def _client(name: str, title: str, environment: ClientEnvironment, lacks: dict[str, str]) -> Client:
    return Client(name, title, environment, lacking(lacks), HTTP_FEATURES)


HTTP_CLIENTS = (
    _client("tritonclient-http", "tritonclient", PythonProgram(_TRITON, "triton_http_sync"), _NOT_OF_TRITON),
    _client(
        "tritonclient-http-aio", "tritonclient (asyncio)", PythonProgram(_TRITON, "triton_http_aio"), _NOT_OF_TRITON
    ),
    _client(
        "tritonclient-http-gevent",
        "tritonclient (gevent)",
        PythonProgram(_TRITON, "triton_http_gevent"),
        _NOT_OF_TRITON,
    ),
    _client("kserve-rest", "KServe's SDK", PythonProgram(_KSERVE, "kserve_rest"), _NOT_OF_KSERVE),
    _client("mlserver", "`mlserver infer`", PythonProgram(_MLSERVER, "mlserver_infer"), _NOT_OF_MLSERVER),
    _client("requests", "requests", PythonProgram(_REQUESTS, "by_requests"), {}),
    _client("httpx", "httpx", PythonProgram(_HTTPX, "by_httpx"), {}),
    _client(
        "fetch",
        "Node's fetch",
        NodeProgram(FOLDER / "fetch", (), "fetch.mjs"),
        {
            "it trusts what its process's environment names": "tls",
            "it chooses among its connections itself": "sequence",
        },
    ),
)
"""In the order of the table's columns."""
