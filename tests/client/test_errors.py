import inspect
import pickle
import re

import grpc
import pytest

import rnnserve.client
from rnnserve.client import errors
from rnnserve.client.errors import ClientError

CLASSES = {
    "CANCELLED": "Cancelled",
    "INVALID_ARGUMENT": "InvalidRequest",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "NOT_FOUND": "ModelNotFound",
    "PERMISSION_DENIED": "PermissionDenied",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "UNIMPLEMENTED": "Unimplemented",
    "INTERNAL": "InternalError",
    "UNAVAILABLE": "Unavailable",
    "UNAUTHENTICATED": "Unauthenticated",
}
"""Statuses with an error of their own. Every other status is a ClientError."""

DEFINED = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_status_becomes_its_error_with_the_server_s_message(client, service, status):
    service.failure = (status, "input: axis 2\nhas 3, not 2 ✓")
    with pytest.raises(ClientError) as raised:
        client.infer("echo", {"input": [1.0]})
    assert type(raised.value).__name__ == CLASSES.get(status.name, "ClientError")
    assert raised.value.status is status
    assert str(raised.value) == "input: axis 2\nhas 3, not 2 ✓"
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    assert bool(getattr(raised.value, "__notes__", [])) == (status.name == "UNAUTHENTICATED")
    tries = 4 if status.name in ("UNAVAILABLE", "CANCELLED") else 1
    assert service.calls == ["ModelInfer"] * tries


def test_note_explains_how_to_send_what_the_server_requires(client, service):
    for message, options in (
        (
            "a valid token is required; send it in the metadata as authorization: Bearer TOKEN",
            ("--token-file", "token_file="),
        ),
        ("words of another server", ("--token-file", "RNNSERVE_TOKEN_FILE")),
        ("a client certificate to which this server assigns a role is required", ("--tls-key", "tls_certificate=")),
    ):
        service.failure = (grpc.StatusCode.UNAUTHENTICATED, message)
        with pytest.raises(errors.Unauthenticated) as raised:
            client.infer("echo", {"input": [1.0]})
        assert str(raised.value) == message
        (note,) = raised.value.__notes__
        assert all(option in note for option in options)


def test_every_error_is_documented_exported_and_survives_pickling():
    drawn = re.findall(r"^    [│├└─ ]*(\w+) {2,}", errors.__doc__, re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in DEFINED)
    for kind in DEFINED:
        assert getattr(rnnserve.client, kind.__name__) is kind
        error = pickle.loads(pickle.dumps(kind("words")))
        assert (type(error), str(error), error.status) == (kind, "words", kind.STATUS)
