import inspect
import pickle
import re
import subprocess
import sys

import grpc
import pytest

import rnnserve.client
from rnnserve.client import errors
from rnnserve.client.errors import ClientError

CLASSES = {
    "CANCELLED": "Cancelled",
    "UNKNOWN": "ClientError",
    "INVALID_ARGUMENT": "InvalidRequest",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "NOT_FOUND": "ModelNotFound",
    "ALREADY_EXISTS": "ClientError",
    "PERMISSION_DENIED": "PermissionDenied",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "ABORTED": "ClientError",
    "OUT_OF_RANGE": "ClientError",
    "UNIMPLEMENTED": "Unimplemented",
    "INTERNAL": "InternalError",
    "UNAVAILABLE": "Unavailable",
    "DATA_LOSS": "ClientError",
    "UNAUTHENTICATED": "Unauthenticated",
}

DEFINED = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]


def test_the_table_above_names_every_status_of_grpc():
    assert set(CLASSES) == {status.name for status in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize(("status", "kind"), CLASSES.items())
def test_a_status_becomes_its_error_with_the_servers_words(client, service, status, kind):
    service.failure = (grpc.StatusCode[status], "input: axis 2\nhas 3, not 2 ✓")
    with pytest.raises(ClientError) as raised:
        client.infer("echo", {"input": [1.0]})
    assert type(raised.value).__name__ == kind
    assert raised.value.status is grpc.StatusCode[status]
    assert str(raised.value) == "input: axis 2\nhas 3, not 2 ✓"
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    assert bool(getattr(raised.value, "__notes__", [])) == (status == "UNAUTHENTICATED")
    tries = 4 if status in ("UNAVAILABLE", "CANCELLED") else 1
    assert service.calls == ["ModelInfer"] * tries


@pytest.mark.parametrize(
    ("said", "sent_with"),
    [
        ("a valid token is needed: send it as authorization: Bearer TOKEN", ("--token-file", "token_file=")),
        ("no words of this server", ("--token-file", "RNNSERVE_TOKEN_FILE")),
        ("a client certificate is needed that this server has a role for", ("--tls-key", "tls_certificate=")),
    ],
)
def test_a_note_says_how_we_send_what_a_server_asks_for(client, service, said, sent_with):
    service.failure = (grpc.StatusCode.UNAUTHENTICATED, said)
    with pytest.raises(errors.Unauthenticated) as raised:
        client.infer("echo", {"input": [1.0]})
    assert str(raised.value) == said
    (note,) = raised.value.__notes__
    for words in sent_with:
        assert words in note


def test_other_words_of_an_error_keep_the_rest():
    error = errors.from_status(grpc.StatusCode.UNAUTHENTICATED, "no")
    error.request_id, error.retry_after = "r1", 2.5
    again = errors.reworded(error, "line 3: no")
    assert (type(again), str(again)) == (errors.Unauthenticated, "line 3: no")
    assert vars(again) == vars(error)
    assert again.__notes__


def test_the_docstring_draws_the_tree_as_it_is():
    drawn = re.findall(r"^    [│├└─ ]*(\w+) {2,}", errors.__doc__, re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in DEFINED)


@pytest.mark.parametrize("kind", DEFINED)
def test_every_error_is_exported_and_survives_pickling(kind):
    assert getattr(rnnserve.client, kind.__name__) is kind
    error = pickle.loads(pickle.dumps(kind("words")))
    assert (type(error), str(error), error.status) == (kind, "words", kind.STATUS)


def test_the_client_loads_nothing_but_numpy_grpc_and_the_contracts():
    code = (
        "import sys, rnnserve.client, rnnserve.client.commands.infer;"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'rnnserve.server', 'rnnserve.models', 'rnnserve.export')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
