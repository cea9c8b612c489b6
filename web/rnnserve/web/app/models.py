"""`/v2/models…` but for inference: which there are, what they take, whether they are ready, what they have done."""

from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.app.health import not_ready
from rnnserve.web.rest.message_json import message_json
from rnnserve.web.rest.parameters import write_parameters

__all__ = ["described", "list_models", "model_config", "model_metadata", "model_ready", "statistics"]


async def list_models(exchange: Exchange) -> Answer:
    """Name the models that serve, as KServe does."""
    index = await exchange.upstream.call(
        "RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse, exchange.context()
    )
    return json_answer({"models": sorted({model.name for model in index.models})})


async def model_metadata(exchange: Exchange) -> Answer:
    """Describe a model: its tensors with the names of their axes, and how it is served."""
    return json_answer(described(await exchange.metadata()))


def described(said: pb.ModelMetadataResponse) -> dict[str, Any]:
    """Metadata as JSON has them."""
    return {
        "name": said.name,
        "versions": list(said.versions),
        "platform": said.platform,
        "inputs": [_tensor(tensor) for tensor in said.inputs],
        "outputs": [_tensor(tensor) for tensor in said.outputs],
        "properties": dict(said.properties),
    }


async def model_ready(exchange: Exchange) -> Answer:
    """Say whether a model, or a version of it, serves; if not, why."""
    name, version = exchange.parameter("model"), exchange.parameter("version")
    said = await exchange.upstream.call(
        "ModelReady", pb.ModelReadyRequest(name=name, version=version), pb.ModelReadyResponse, exchange.context()
    )
    if said.ready:
        return json_answer({"name": name, "ready": True})
    await exchange.metadata()  # the server says why it does not: there is none, or it is not ready
    return not_ready({"name": name, "ready": False}, f"{name} was not ready a moment ago")


async def model_config(exchange: Exchange) -> Answer:
    """Give a model's configuration, in Triton's form."""
    said = await exchange.upstream.call(
        "ModelConfig",
        pb.ModelConfigRequest(name=exchange.parameter("model"), version=exchange.parameter("version")),
        pb.ModelConfigResponse,
        exchange.context(),
    )
    return json_answer(message_json(said.config))


async def statistics(exchange: Exchange) -> Answer:
    """Say what a model, a version of it, or all of them have done."""
    said = await exchange.upstream.call(
        "ModelStatistics",
        pb.ModelStatisticsRequest(name=exchange.parameter("model"), version=exchange.parameter("version")),
        pb.ModelStatisticsResponse,
        exchange.context(),
    )
    return json_answer(message_json(said))


def _tensor(tensor: pb.ModelMetadataResponse.TensorMetadata) -> dict[str, Any]:
    described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if tensor.parameters:
        described["parameters"] = write_parameters(tensor.parameters)
    return described
