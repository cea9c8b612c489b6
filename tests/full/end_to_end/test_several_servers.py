"""Three servers and a client that has them all: one is killed, one drained, one comes back, and no request fails."""

from kit.asked_servers import MODEL, WALK, kill_drain_and_bring_back, started_servers
from rnnserve.client import Client


def test_no_request_fails_while_servers_end_and_start(repository):
    with started_servers(repository) as start:
        servers = start(0, 0, 0)
        with Client([server.address for server in servers]) as client:
            kill_drain_and_bring_back(start, servers, lambda: client.infer(MODEL, {"input": WALK}))
