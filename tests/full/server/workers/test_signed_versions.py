"""Workers agree on signatures: on what serves, and on what may not be gone back behind."""

import shutil

import numpy as np
import pytest

from kit.bad_versions import SAMPLE
from kit.served import served
from kit.signed_versions import make_key, publish_signed, sign
from kit.waiting import PATIENCE, until
from rnnserve.client import Client


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


def version_of(server):
    """The version that a worker on a new connection answers with."""
    with Client(server.address) as client:
        (result,) = client.predict("good", {"input": [SAMPLE["input"][0]]})
        np.testing.assert_array_equal(result["output"], 2 * SAMPLE["input"][0])
        return client.metadata("good").versions


def test_what_is_signed_anew_serves_in_all_workers(tmp_path, key):
    repository = tmp_path / "repository"
    first = publish_signed(repository, key)
    options = {"workers": 2, "require_signature": key.public, "model_control": "poll", "poll": 0.1}
    with served(repository, "process", **options) as server:
        second = publish_signed(repository, key, version=2)
        until(lambda: [list(version_of(server)) for _ in range(10)] == [["2"]] * 10, PATIENCE)
        shutil.rmtree(second)
        until(lambda: "version 1 stays out: release.json: has sequence number 1" in server.log, PATIENCE)
        assert [list(version_of(server)) for _ in range(10)] == [["2"]] * 10
        sign(first, key, sequence=3)
        until(lambda: "good: serves with version 1" in server.log, PATIENCE)
        until(lambda: list(version_of(server)) == ["1"], PATIENCE)
