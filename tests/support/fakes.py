"""Fakes of a server, for the tests of clients."""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc

from rnnserve.protos import inference_pb2_grpc as rpc


@contextlib.contextmanager
def serving(
    service: rpc.GRPCInferenceServiceServicer, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serve a fake on a free port of this machine, over TLS with credentials, and give its address."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
