"""Whose sequences are whose: no connection reaches another's, and a client that connects anew goes on with its own."""

import time
from concurrent import futures

from kit.sequence_requests import step, walk
from kit.served import new_channel, served
from rnnserve.protos import inference_pb2_grpc as rpc

OWN = [("grpc.use_local_subchannel_pool", 1)]


def test_connections_that_are_renewed_cost_no_sequence(repository):
    """Three clients, whose connections the server renews every quarter of a second, step through sequences."""
    inputs = walk(1)

    def client(port, identity):
        with new_channel(port) as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            stub.ModelInfer(step(inputs, identity, starts=True))
            ends = time.monotonic() + 2
            while time.monotonic() < ends:
                stub.ModelInfer(step(inputs, identity))
            return stub.ModelInfer(step(inputs, identity, ends=True))

    with served(repository, max_connection_age=0.25) as server, futures.ThreadPoolExecutor(3) as pool:
        assert len(list(pool.map(lambda identity: client(server.port, identity), (1000, 1001, 1002)))) == 3
