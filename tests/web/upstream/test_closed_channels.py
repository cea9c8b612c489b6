"""A server that leaves between the choice of it for a request and the call: the request goes to another one.

A request waits in between where the stream that it was sent on ends, and it is to go another way.
"""

import asyncio

import pytest

from kit.front_streams import MINE, serving
from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.waiting import PATIENCE
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream import private_sockets
from rnnserve.web.upstream.answers import NotConnected
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.private_sockets import PrivateSockets
from rnnserve.web.upstream.upstream import CallContext

WAYS = {
    "infer, on the stream": lambda upstream: upstream.infer(pb.ModelInferRequest(), MINE),
    "infer, as a call": lambda upstream: upstream.infer(pb.ModelInferRequest(id="x" * 100_000), MINE),
    "another method": lambda upstream: upstream.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse, MINE),
}


@pytest.mark.parametrize("grace", [None, 60.0])
@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_nothing_is_sent_to_a_server_whose_connection_is_closed(tmp_path, ask, grace):
    async def go():
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/1.sock")
        await upstream.close(grace)
        with pytest.raises(NotConnected):
            await ask(upstream)

    asyncio.run(asyncio.wait_for(go(), PATIENCE))


def test_a_stream_whose_channel_is_closed_before_it_opens_has_taken_nothing(tmp_path):
    async def go():
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/1.sock")
        stream = ExchangeStream(upstream._channel)
        waiting = [asyncio.create_task(stream.infer(b"", MINE)) for _ in range(3)]
        await upstream._channel.close()
        said = await asyncio.gather(*waiting, stream.infer(b"", MINE), return_exceptions=True)
        assert {type(each) for each in said} == {NotTaken}

    asyncio.run(asyncio.wait_for(go(), PATIENCE))


def test_a_request_whose_server_leaves_before_it_is_called_is_answered_by_another(repository, tmp_path, monkeypatch):
    """As when all workers are restarted: the front's client is not told of it."""
    monkeypatch.setattr(private_sockets, "_LOOK_SECONDS", 1000)
    gone = tmp_path / "gone.sock"
    gone.touch()

    async def go():
        sockets = PrivateSockets(tmp_path)
        try:
            (leaving,) = sockets._workers.values()
            await leaving.close(60.0)
            gone.unlink()
            with serving(repository, tmp_path, transport="lane"):
                answered = await sockets.infer(request("direction_simple", {"input": walk(4)}), CallContext())
            assert answered.model_name == "direction_simple"
        finally:
            await sockets.close()

    asyncio.run(asyncio.wait_for(go(), PATIENCE))
