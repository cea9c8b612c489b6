"""Which side is older, where client and server do not understand each other.

Within a release and the one before it, they do (docs/upgrades.md). Beyond that, an answer may be one that this client
cannot read, or a method may be missing: then the server is asked which release it is, and the error says so.
"""

import importlib.metadata
import re
from typing import TypeVar

from rnnserve.client.errors import ClientError, InternalError, InvalidAnswer, Unimplemented
from rnnserve.client.remote_calls import OperationSteps, RemoteCall
from rnnserve.protos import inference_pb2

__all__ = ["compare_releases", "explain_releases"]

T = TypeVar("T")

_OF_GRPC = "Exception deserializing response!"
"""What grpc says of an answer that is not the message which was expected."""

_SERVER = "rnnserve"


def explain_releases(steps: OperationSteps[T]) -> OperationSteps[T]:
    """Go through an operation; where its answer cannot be read, say which side is older.

    Args:
        steps: The operation.
    """
    try:
        return (yield from steps)
    except ClientError as error:
        if not _is_of_another_release(error):
            raise
        said = yield from _said_of_releases()
        if not said:
            raise
        raised = type(error)(f"{error}; {said}", error.status)
        raised.request_id = error.request_id
        raise raised from error


def _is_of_another_release(error: ClientError) -> bool:
    unreadable = isinstance(error, InternalError) and _OF_GRPC in str(error)
    return unreadable or isinstance(error, InvalidAnswer | Unimplemented)


def _said_of_releases() -> OperationSteps[str]:
    try:
        answer = yield RemoteCall("ServerMetadata", inference_pb2.ServerMetadataRequest())
    except ClientError:
        return ""
    if not isinstance(answer, inference_pb2.ServerMetadataResponse) or answer.name != _SERVER:
        return ""
    return compare_releases(answer.version, importlib.metadata.version("rnnserve"))


def compare_releases(server: str, client: str) -> str:
    """Say which of two releases is older, and what to do; nothing where they are the same.

    Args:
        server: Version of the server.
        client: Version of the client.
    """
    theirs, ours = _numbers(server), _numbers(client)
    if not theirs or theirs == ours:
        return ""
    if theirs < ours:
        return f"the server is rnnserve {server}, older than this client, {client}: update the server"
    return f"the server is rnnserve {server}, newer than this client, {client}: update the client"


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what stands after them; none where it has none."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
