"""Fakes of a server, for the tests of clients."""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc

from rnnserve.protos import inference_pb2_grpc as rpc


@contextlib.contextmanager
def serving(service: rpc.GRPCInferenceServiceServicer) -> Iterator[str]:
    """Serve a fake on a free port of this machine, and give its address."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
