"""The clients of HTTP, with what each of them does not offer."""

from benchmarks.environments import Environment
from campaigns.conformance.clients import FOLDER, Client, lacking
from campaigns.conformance.environments import ClientEnvironment, NodeProgram, PythonProgram
from campaigns.conformance.features import HTTP_FEATURES

__all__ = ["HTTP_CLIENTS"]

_TRITON = Environment(FOLDER / "tritonclient-http", ("tritonclient[http]==2.73.0",), "tritonclient over HTTP")
_KSERVE = Environment(FOLDER / "kserve", ("kserve==0.21.0",), "KServe's SDK")
_MLSERVER = Environment(FOLDER / "mlserver", ("mlserver==1.7.1",), "MLServer's command")
_GENERATED = Environment(
    FOLDER / "open-inference-openapi", ("open-inference-openapi==2.0.0.1", "numpy"), "the generated client"
)
_PYDANTIC = Environment(
    FOLDER / "pydantic-open-inference", ("pydantic-open-inference==1.3.2",), "pydantic-open-inference"
)
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
_NOT_OF_GENERATED = {
    "the protocol's document does not have it": f"models model-config {_NOT_OF_METHODS}",
    "the protocol's document has JSON only": "infer-binary compressed-requests",
    "it writes whole numbers as 3.0, which is no INT64": "infer-integers",
    "it waits for each answer": "infer-async",
    "its methods take no headers": "headers",
    "it takes one address, and keeps its connection": "sequence-key",
}
_NOT_OF_PYDANTIC = {
    "it has no method for it": "live server-metadata models model-config classification timeout priority parameters "
    f"sequence sequence-key carried {_NOT_OF_METHODS}",
    "it sends and reads JSON only": "infer-binary compressed-requests",
    "it waits for each answer": "infer-async walks",
    "its methods take no headers, ids or certificates": "id headers tls",
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
    _client(
        "open-inference-openapi",
        "open-inference-openapi",
        PythonProgram(_GENERATED, "generated_client"),
        _NOT_OF_GENERATED,
    ),
    _client(
        "pydantic-open-inference",
        "pydantic-open-inference",
        PythonProgram(_PYDANTIC, "pydantic_client"),
        _NOT_OF_PYDANTIC,
    ),
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
