"""If client and server of different releases don't understand each other, the error says which one to update."""

import importlib.metadata

import grpc
import pytest

from rnnserve.client import ClientError
from rnnserve.client.releases import compare_releases

OURS = importlib.metadata.version("rnnserve")
MISSING, REFUSED = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("server", "client", "older"),
    [
        ("0.1.0", "0.2.0", "server"),
        ("0.9", "0.10", "server"),
        ("1.0.0", "0.99.1", "client"),
        ("0.2.0", "0.2", None),
        ("0.2.0.dev1", "0.2.0", None),
        ("", "0.2.0", None),
        ("master", "0.2.0", None),
    ],
)
def test_older_release_is_to_be_updated(server, client, older):
    found = compare_releases(server, client)
    assert found.endswith(f"update the {older}") if older else found == ""


@pytest.mark.parametrize(
    ("status", "release", "is_explained"),
    [
        (MISSING, ("rnnserve", "0.0.1"), True),
        (MISSING, ("rnnserve", OURS), False),
        (MISSING, ("triton", "2.60.0"), False),
        (REFUSED, ("rnnserve", "0.0.1"), False),
    ],
)
def test_error_of_a_missing_method_names_the_older_release(client, service, status, release, is_explained):
    service.failure, service.release = (status, "Method not found!"), release
    with pytest.raises(ClientError) as raised:
        client.infer("echo", {"a": [1.0]})
    assert raised.value.status is status
    assert str(raised.value).startswith("Method not found!")
    assert ("update the server" in str(raised.value)) == is_explained
