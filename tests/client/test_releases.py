"""Where client and server do not understand each other, the error says which side is older."""

import importlib.metadata

import grpc
import pytest

from rnnserve.client.errors import (
    ClientError,
    InternalError,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
    Unimplemented,
)
from rnnserve.client.releases import compare_releases, explain_releases
from rnnserve.client.remote_calls import RemoteCall
from rnnserve.protos import inference_pb2 as pb

OURS = importlib.metadata.version("rnnserve")
UNREADABLE = InternalError("Exception deserializing response!")


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        ("0.1.0", "0.2.0", "the server is rnnserve 0.1.0, older than this client, 0.2.0: update the server"),
        ("0.9", "0.10", "the server is rnnserve 0.9, older than this client, 0.10: update the server"),
        ("1.0.0", "0.99.1", "the server is rnnserve 1.0.0, newer than this client, 0.99.1: update the client"),
        ("0.2.0", "0.2", ""),
        ("0.2.0.dev1", "0.2.0", ""),
        ("", "0.2.0", ""),
        ("master", "0.2.0", ""),
    ],
)
def test_which_is_older(server, client, said):
    found = compare_releases(server, client)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def asked(raised, answer):
    """What an operation raises that fails with an error, before a server that answers so to ServerMetadata."""

    def operation():
        yield RemoteCall("ModelMetadata", pb.ModelMetadataRequest())
        raise raised

    steps = explain_releases(operation())
    next(steps)
    call = steps.send(pb.ModelMetadataResponse())
    assert isinstance(call, RemoteCall)
    assert call.method == "ServerMetadata"
    with pytest.raises(ClientError) as failed:
        steps.throw(answer) if isinstance(answer, ClientError) else steps.send(answer)
    return failed.value


@pytest.mark.parametrize("error", [UNREADABLE, InvalidAnswer("no JSON"), Unimplemented("Method not found!")])
def test_the_error_says_so(error):
    error.request_id = "7"
    raised = asked(error, pb.ServerMetadataResponse(name="rnnserve", version="0.0.1"))
    assert type(raised) is type(error)
    assert str(raised) == f"{error}; {compare_releases('0.0.1', OURS)}"
    assert raised.status is error.status
    assert raised.request_id == "7"


@pytest.mark.parametrize(
    "answer",
    [
        pb.ServerMetadataResponse(name="rnnserve", version=OURS),
        pb.ServerMetadataResponse(name="triton", version="2.60.0"),
        Unavailable("gone"),
        Unimplemented("none"),
    ],
)
def test_other_servers_and_the_same_release_change_nothing(answer):
    assert asked(UNREADABLE, answer) is UNREADABLE


@pytest.mark.parametrize("error", [ModelNotFound("x"), InvalidRequest("x"), InternalError("x"), Unavailable("x")])
def test_other_errors_ask_nothing(error):
    def operation():
        yield RemoteCall("ModelMetadata", pb.ModelMetadataRequest())
        raise error

    steps = explain_releases(operation())
    next(steps)
    with pytest.raises(ClientError) as failed:
        steps.send(pb.ModelMetadataResponse())
    assert failed.value is error


def test_a_result_passes():
    def operation():
        return (yield RemoteCall("ServerLive", pb.ServerLiveRequest()))

    steps = explain_releases(operation())
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(pb.ServerLiveResponse(live=True))
    assert done.value.value.live
    assert grpc.StatusCode.INTERNAL is UNREADABLE.status
