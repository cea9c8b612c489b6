"""`/v2` and `/v2/health/…`: what the server is, whether it is up, whether it is ready."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.upstream.statuses import RETRY_SECONDS

__all__ = ["live", "not_ready", "ready", "server_metadata"]


async def server_metadata(exchange: Exchange) -> Answer:
    """Name the server, its version, and the extensions that it speaks."""
    said = await exchange.upstream.call(
        "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, exchange.context()
    )
    return json_answer({"name": said.name, "version": said.version, "extensions": list(said.extensions)})


async def live(exchange: Exchange) -> Answer:
    """Say that the server's process is up: the front asks it."""
    said = await exchange.upstream.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse, exchange.context())
    return json_answer({"live": said.live}) if said.live else not_ready({"live": False}, "the server is not live")


async def ready(exchange: Exchange) -> Answer:
    """Say whether the server as a whole is ready (--ready)."""
    said = await exchange.upstream.call(
        "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse, exchange.context()
    )
    if said.ready:
        return json_answer({"ready": True})
    return not_ready({"ready": False}, "the server is not ready: models are loading, none serves, or it is stopping")


def not_ready(said: dict[str, object], why: str) -> Answer:
    """Say that something is not ready: KServe's body, the reason, and when to ask again."""
    return json_answer(said | {"error": why}, 503, {"retry-after": str(RETRY_SECONDS)})
