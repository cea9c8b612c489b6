"""The page at `/`: its static files, the model data that it shows, and the OpenAPI document.

The HTML contains no inline scripts or styles. The Content-Security-Policy header forbids them, and it also forbids
loading anything from other sites.
"""

import asyncio
import importlib.resources
import json
import math
import mimetypes
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import BATCH
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.app.handlers import described
from rnnserve.web.errors import RestError
from rnnserve.web.rest.json_tensors import BINARY_ONLY

__all__ = ["CONTENT_SECURITY_POLICY", "document", "example_request", "front_page", "overview", "static_file"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = MappingProxyType(
    {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
)
_FOLDER = importlib.resources.files("rnnserve.web.app")
_TYPES = mimetypes.types_map | {".js": "text/javascript"}
_KINDS = {file.name: _TYPES.get(Path(file.name).suffix) for file in _FOLDER.joinpath("static").iterdir()}
"""The only files that requests can read. A path from a request never becomes a file path."""

_MOST_MODELS = 32
"""Maximum number of models on the page."""

_STEPS = 4
_MOST_ELEMENTS = 4096


async def static_file(exchange: Exchange) -> Answer:
    """Return a static file of the page."""
    return _file(exchange.parameter("file"))


async def front_page(exchange: Exchange) -> Answer:  # noqa: ARG001 - a handler
    """Return the page that shows the ready models."""
    return _file("page.html")


async def document(exchange: Exchange) -> Answer:  # noqa: ARG001 - a handler
    """Return the OpenAPI 3.1 document of all routes."""
    return Answer(_FOLDER.joinpath("openapi.json").read_bytes())


async def overview(exchange: Exchange) -> Answer:
    """Return each ready model with an example request, and the reasons why other models aren't ready."""
    index = await exchange.call(pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    names = sorted({model.name for model in index.models if model.state == "READY"})[:_MOST_MODELS]
    served = [found for found in await asyncio.gather(*(_metadata_of(exchange, name) for name in names)) if found]
    not_serving = [
        {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}
        for model in index.models
        if model.name not in names and model.state != "READY"
    ]
    models = [{"metadata": described(metadata), "example": example_request(metadata)} for metadata in served]
    return json_answer({"models": models, "not_serving": not_serving[:_MOST_MODELS]})


def example_request(metadata: pb.ModelMetadataResponse) -> dict[str, Any] | None:
    """Make a valid request with one row of a few steps. Returns None if JSON can't hold it or it would be too large."""
    inputs = []
    for tensor in metadata.inputs:
        if tensor.parameters["optional"].bool_param:
            continue
        shape = _shape_of(tensor)
        if tensor.datatype in BINARY_ONLY or math.prod(shape) > _MOST_ELEMENTS:
            return None
        data = [_element(tensor, shape, index) for index in range(math.prod(shape))]
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data})
    return {"inputs": inputs}


def _shape_of(tensor: pb.ModelMetadataResponse.TensorMetadata) -> list[int]:
    limits = json.loads(tensor.parameters["limits"].string_param or "{}")
    sizes = []
    for size, axis in zip(tensor.shape, tensor.parameters["axes"].string_param.split(", "), strict=True):
        least, most = limits.get(axis, (1, None))
        wanted = size if size >= 0 else 1 if axis == BATCH else _STEPS
        sizes.append(max(wanted, least) if most is None else min(max(wanted, least), most))
    return sizes


def _element(tensor: pb.ModelMetadataResponse.TensorMetadata, shape: list[int], index: int) -> float | int | bool:
    """Return a valid element: the number of steps for a length, otherwise a value within the input's bounds."""
    if tensor.parameters["lengths_of"].string_param:
        return _STEPS
    if tensor.datatype == "BOOL":
        return index % 2 == 0
    if tensor.datatype.startswith("FP"):
        return round(math.sin(index + 1), 3)
    low = tensor.parameters["low"].int64_param
    high = tensor.parameters["high"].int64_param if "high" in tensor.parameters else low + len(shape) + 1
    return low + index % max(high - low, 1)


async def _metadata_of(exchange: Exchange, name: str) -> pb.ModelMetadataResponse | None:
    try:
        return await exchange.call(pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse)
    except RestError:  # the model has stopped serving, or the token doesn't grant access to it
        return None


def _file(name: str) -> Answer:
    kind = _KINDS.get(name)
    if kind is None:
        raise RestError(404, "Not Found")
    data = _FOLDER.joinpath("static", name).read_bytes()
    return Answer(data, content_type=f"{kind}; charset=utf-8", headers=_HEADERS)
