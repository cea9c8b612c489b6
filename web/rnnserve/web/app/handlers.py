"""Handlers of the protocol's routes: inference, health, models and the repository."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.bodies import beside_loop
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.errors import bad_request
from rnnserve.web.rest.infer_request import parameters_of, read_infer_request
from rnnserve.web.rest.infer_response import message_json, write_parameters

__all__ = [
    "described",
    "infer",
    "list_models",
    "live",
    "load",
    "model_config",
    "model_metadata",
    "model_ready",
    "ready",
    "repository_index",
    "server_metadata",
    "statistics",
    "unload",
]

_BINARY = "application/octet-stream"
_LENGTH = b"inference-header-content-length"

_LOAD_SECONDS = 600.0
"""Seconds that a load may take. The server loads versions one after another, with 60 seconds for each."""


async def infer(exchange: Exchange) -> Answer:
    """Handle an inference request.

    With the header Inference-Header-Content-Length, the body is JSON followed by binary data. Otherwise it is JSON. The
    content type doesn't matter, because curl sends JSON as application/x-www-form-urlencoded, and aiohttp sends it as
    application/octet-stream.
    """
    header_length = _header_length(exchange.headers)
    body = await exchange.body()
    size = len(body) if header_length is None else header_length  # reading the binary data costs little
    model, version = exchange.parameter("model"), exchange.parameter("version")
    request, form = await beside_loop(size, read_infer_request, body, header_length, model, version)
    del body  # free it now, because the message has a copy of the inputs
    response = await exchange.upstream.infer(request, exchange.context())
    del request
    text, header_length = await exchange.write(response, form)
    if header_length is None:
        return Answer(text)
    return Answer(text, content_type=_BINARY, headers={_LENGTH.decode(): str(header_length)})


async def server_metadata(exchange: Exchange) -> Answer:
    """Return the server's name, version and supported extensions."""
    said = await exchange.call(pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    return json_answer({"name": said.name, "version": said.version, "extensions": list(said.extensions)})


async def live(exchange: Exchange) -> Answer:
    """Return whether the server's process is running."""
    said = await exchange.call(pb.ServerLiveRequest(), pb.ServerLiveResponse)
    return json_answer({"live": True}) if said.live else _not_ready({"live": False}, "the server is not live")


async def ready(exchange: Exchange) -> Answer:
    """Return whether the server is ready, as defined by its option --ready."""
    said = await exchange.call(pb.ServerReadyRequest(), pb.ServerReadyResponse)
    if said.ready:
        return json_answer({"ready": True})
    return _not_ready(
        {"ready": False}, "the server is not ready: models are loading, no model is ready, or the server is stopping"
    )


async def list_models(exchange: Exchange) -> Answer:
    """Return the names of the ready models, in KServe's form."""
    index = await exchange.call(pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)
    return json_answer({"models": sorted({model.name for model in index.models})})


async def model_metadata(exchange: Exchange) -> Answer:
    """Return a model's metadata: its tensors with axis names, and its serving properties."""
    return json_answer(described(await exchange.metadata()))


def described(said: pb.ModelMetadataResponse) -> dict[str, Any]:
    """Convert a model's metadata to JSON."""
    return {
        "name": said.name,
        "versions": list(said.versions),
        "platform": said.platform,
        "inputs": [_tensor(tensor) for tensor in said.inputs],
        "outputs": [_tensor(tensor) for tensor in said.outputs],
        "properties": dict(said.properties),
    }


async def model_ready(exchange: Exchange) -> Answer:
    """Return whether a model or a version is ready, and the reason if it isn't."""
    name, version = exchange.parameter("model"), exchange.parameter("version")
    said = await exchange.call(pb.ModelReadyRequest(name=name, version=version), pb.ModelReadyResponse)
    if said.ready:
        return json_answer({"name": name, "ready": True})
    await exchange.metadata()  # raises the server's error with the reason
    return _not_ready({"name": name, "ready": False}, f"{name} was not ready at the last check")


async def model_config(exchange: Exchange) -> Answer:
    """Return a model's configuration in Triton's form."""
    request = pb.ModelConfigRequest(name=exchange.parameter("model"), version=exchange.parameter("version"))
    said = await exchange.call(request, pb.ModelConfigResponse)
    return json_answer(message_json(said.config))


async def statistics(exchange: Exchange) -> Answer:
    """Return the statistics of a version, a model or all models."""
    request = pb.ModelStatisticsRequest(name=exchange.parameter("model"), version=exchange.parameter("version"))
    said = await exchange.call(request, pb.ModelStatisticsResponse)
    return json_answer(message_json(said))


async def repository_index(exchange: Exchange) -> Answer:
    """List every version of every model with its state, and the reason if it isn't ready."""
    asked = await exchange.json()
    is_ready = asked.get("ready", False)
    if not isinstance(is_ready, bool):
        raise bad_request("ready must be true, which lists only ready models, or false")
    request = pb.RepositoryIndexRequest(repository_name=exchange.parameter("repository"), ready=is_ready)
    said = await exchange.call(request, pb.RepositoryIndexResponse)
    return json_answer(
        [
            {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}
            for model in said.models
        ]
    )


async def load(exchange: Exchange) -> Answer:
    """Load or reload a model from its folder. Needs --model-control explicit."""
    request = pb.RepositoryModelLoadRequest(model_name=exchange.parameter("model"))
    return await _controlled(exchange, request, pb.RepositoryModelLoadResponse, "load")


async def unload(exchange: Exchange) -> Answer:
    """Stop serving a model. Needs --model-control explicit."""
    request = pb.RepositoryModelUnloadRequest(model_name=exchange.parameter("model"))
    return await _controlled(exchange, request, pb.RepositoryModelUnloadResponse, "unload")


async def _controlled(
    exchange: Exchange,
    request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
    answer: type[Message],
    action: str,
) -> Answer:
    """Send a request with the body's parameters. Of values that aren't bools, the server only reads the names."""
    for name, value in parameters_of(await exchange.json(), "").items():
        if isinstance(value, bool):
            request.parameters[name].bool_param = value
        else:
            request.parameters[name].string_param = ""
    await exchange.call(request, answer, _LOAD_SECONDS)
    return json_answer({"name": request.model_name, action: True})


def _header_length(headers: Mapping[bytes, bytes]) -> int | None:
    value = headers.get(_LENGTH)
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_request(
            f"Inference-Header-Content-Length is {text[:100]!r}; expected the number of bytes of the decompressed JSON "
            "before the binary data"
        )
    return int(text)


def _not_ready(said: dict[str, object], why: str) -> Answer:
    """Return a 503 response with KServe's body, the reason and a Retry-After header."""
    return json_answer(said | {"error": why}, 503, {"retry-after": "1"})


def _tensor(tensor: pb.ModelMetadataResponse.TensorMetadata) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if tensor.parameters:
        made["parameters"] = write_parameters(tensor.parameters)
    return made
