"""The models that serve, with their metadata: for pages that describe all of them."""

import asyncio

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.errors import RestError

__all__ = ["MOST_MODELS", "repository_index", "served_models"]

MOST_MODELS = 32
"""Models whose metadata are asked for, for one answer."""


async def served_models(exchange: Exchange) -> dict[str, pb.ModelMetadataResponse]:
    """Metadata by name, sorted; none where the server does not answer: documents are needed then, too."""
    try:
        index = await repository_index(exchange, ready=True)
    except RestError:
        return {}
    names = sorted({model.name for model in index.models if model.state == "READY"})[:MOST_MODELS]
    found = await asyncio.gather(*(_metadata_of(exchange, name) for name in names))
    return {name: metadata for name, metadata in zip(names, found, strict=True) if metadata is not None}


async def repository_index(exchange: Exchange, *, ready: bool) -> pb.RepositoryIndexResponse:
    """Every version of every model; of those that serve alone, where `ready` is set.

    Raises:
        RestError: If the server does not answer, or refuses.
    """
    return await exchange.upstream.call(
        "RepositoryIndex", pb.RepositoryIndexRequest(ready=ready), pb.RepositoryIndexResponse, exchange.context()
    )


async def _metadata_of(exchange: Exchange, name: str) -> pb.ModelMetadataResponse | None:
    try:
        return await exchange.upstream.call(
            "ModelMetadata", pb.ModelMetadataRequest(name=name), pb.ModelMetadataResponse, exchange.context()
        )
    except RestError:  # it has stopped serving
        return None
