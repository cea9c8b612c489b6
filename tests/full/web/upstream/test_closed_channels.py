"""A server that leaves between the choice of it for a request and the call: the request goes to another one.

A request waits in between where the stream that it was sent on ends, and it is to go another way.
"""

import asyncio

from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.served import served
from kit.waiting import PATIENCE
from rnnserve.web.upstream import private_sockets
from rnnserve.web.upstream.private_sockets import PrivateSockets
from rnnserve.web.upstream.upstream import CallContext


def test_request_to_a_channel_that_closes_early_is_answered_by_another(repository, tmp_path, monkeypatch):
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
            with served(repository, private_sockets=tmp_path):
                answered = await sockets.infer(request("direction_simple", {"input": walk(4)}), CallContext())
            assert answered.model_name == "direction_simple"
        finally:
            await sockets.close()

    asyncio.run(asyncio.wait_for(go(), PATIENCE))
