"""The server believes the peer that a call names on its private socket, and nowhere else."""

import os

import grpc
import pytest

from kit.sequence_requests import step, walk
from kit.served import served
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.protocol_words import PEER
from rnnserve.server.connections.private_socket import believed_peer

MINE, OTHER = "ipv4:10.1.1.1:1111", "ipv4:10.1.1.1:2222"


def test_peer_is_believed_only_on_the_private_socket():
    told = [("user-agent", "x"), (PEER, MINE)]
    assert believed_peer("unix:", told) == f"http:{MINE}"
    assert believed_peer("unix:", []) == "unix:"
    for connection in ("ipv4:127.0.0.1:5", "ipv6:%5B::1%5D:5"):
        assert believed_peer(connection, told) == connection


@pytest.fixture(scope="module")
def stubs(repository, tmp_path_factory):
    """Stubs of the port and of the private socket."""
    folder = tmp_path_factory.mktemp("s")
    path = folder / f"{os.getpid()}.sock"
    with (
        served(repository, private_sockets=folder) as server,
        grpc.insecure_channel(f"unix:{path}", [("grpc.default_authority", "localhost")]) as private,
    ):
        yield server.stub, rpc.GRPCInferenceServiceStub(private)
    assert not path.exists()


def test_sequence_belongs_to_the_gateways_client(stubs):
    public, private = stubs
    private.ModelInfer(step(walk(2), 7, starts=True), metadata=[(PEER, MINE)])
    private.ModelInfer(step(walk(1), 7), metadata=[(PEER, MINE)])
    for stub, metadata in ((private, [(PEER, OTHER)]), (public, [(PEER, MINE)]), (private, [])):
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(step(walk(1), 7), metadata=metadata)
        assert refused.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    private.ModelInfer(step(walk(1), 7, ends=True), metadata=[(PEER, MINE)])
