"""A server in the test's process that asks for tokens, and every method of it."""

import contextlib
import os

import grpc
import numpy as np

from kit.any_method import ask_any
from kit.inference_requests import request
from kit.served import served
from kit.tokens import bearer, tokens_in
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

SIMPLE = "direction_simple"
DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
ASKED = {
    "ModelInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelStreamInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelReady": pb.ModelReadyRequest(name=SIMPLE),
    "ModelMetadata": pb.ModelMetadataRequest(name=SIMPLE),
    "ModelConfig": pb.ModelConfigRequest(name=SIMPLE),
    "ModelStatistics": pb.ModelStatisticsRequest(name=SIMPLE),
}
BODIES = {name: message.SerializeToString() for name, message in ASKED.items()}


class Locked:
    """A server, the channels to it, and the tokens of its file."""

    def __init__(self, server, tokens, channels):
        self.server, self.tokens, self.channels = server, tokens, channels

    def ask(self, method, metadata, body=None, way="port", timeout=5.0):
        """Ask a method of any kind. The status, its words, and the first message."""
        if body is None:
            body = BODIES.get(method.rpartition("/")[2], b"")
        return ask_any(self.channels[way], method, body, metadata, timeout)

    def usage(self, token):
        """What requests of a token take, as the server counts it."""
        return self.server._transport._gate.grant_of(bearer(token)).usage

    def stub(self, way="port"):
        return rpc.GRPCInferenceServiceStub(self.channels[way])


@contextlib.contextmanager
def locked_server(repository, folder, transport, **settings):
    tokens = tokens_in(folder)
    asked = {"transport": transport, "tokens": tokens.path, "private_sockets": folder}
    asked |= {"max_wrong_tokens": 1 << 30} | settings  # all tests here come from one address
    with served(repository, **asked) as running:
        until(running.server._repository.is_ready)  # on a slow machine models are loaded beside those that serve
        path = folder / f"{os.getpid()}.sock"
        with (
            running.channel() as port,
            grpc.insecure_channel(f"unix:{path}", [("grpc.default_authority", "localhost")]) as private,
        ):
            yield Locked(running.server, tokens, {"port": port, "socket": private})
