"""`/v2/repository/…`: what the repository holds, and what of it is to serve."""

import base64
import binascii
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.errors import bad_request, quoted
from rnnserve.web.rest.parameters import whole

__all__ = ["index", "load", "unload"]

_LOAD_SECONDS = 600.0
"""Seconds that a load may take: the server bounds each version by --load-timeout, and loads one after another."""


async def index(exchange: Exchange) -> Answer:
    """List every version of every model with its state, and why it does not serve."""
    asked = await exchange.json()
    ready = asked.get("ready", False)
    if not isinstance(ready, bool):
        raise bad_request("ready is true, for what serves only, or false")
    said = await exchange.upstream.call(
        "RepositoryIndex",
        pb.RepositoryIndexRequest(repository_name=exchange.parameter("repository"), ready=ready),
        pb.RepositoryIndexResponse,
        exchange.context(),
    )
    return json_answer(
        [
            {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}
            for model in said.models
        ]
    )


async def load(exchange: Exchange) -> Answer:
    """Load a model as its folder is now (--model-control explicit)."""
    request = pb.RepositoryModelLoadRequest(model_name=exchange.parameter("model"))
    _read_parameters(await exchange.json(), request)
    await exchange.upstream.call(
        "RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, exchange.context(_LOAD_SECONDS)
    )
    return json_answer({"name": request.model_name, "load": True})


async def unload(exchange: Exchange) -> Answer:
    """Let a model not serve any more (--model-control explicit)."""
    request = pb.RepositoryModelUnloadRequest(model_name=exchange.parameter("model"))
    _read_parameters(await exchange.json(), request)
    await exchange.upstream.call(
        "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse, exchange.context(_LOAD_SECONDS)
    )
    return json_answer({"name": request.model_name, "unload": True})


def _read_parameters(
    asked: dict[str, Any], request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest
) -> None:
    """Read `parameters`; files are in base64, as tritonclient sends them."""
    parameters = asked.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad_request("parameters is to be an object")
    for name, given in parameters.items():
        value = whole(given)
        to = request.parameters[name]
        if isinstance(value, bool):
            to.bool_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            to.int64_param = value
        elif isinstance(value, str) and name.startswith("file:"):
            try:
                to.bytes_param = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise bad_request(f"parameters: {quoted(name)} is to be a file in base64") from None
        elif isinstance(value, str):
            to.string_param = value
        else:
            raise bad_request(f"parameters: the value of {quoted(name)} is to be text, a number, true or false")
