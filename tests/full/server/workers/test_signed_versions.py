"""Workers agree on signatures: on what serves, and on what stays out."""

import shutil

import numpy as np
import pytest

from kit.bad_versions import SAMPLE
from kit.served import served
from kit.signed_versions import make_key, publish_signed
from kit.waiting import PATIENCE, until
from rnnserve.client import Client


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


def versions_served(server):
    """The versions that ten new connections, spread over both workers, are answered with."""
    versions = set()
    for _ in range(10):
        with Client(server.address) as client:
            (result,) = client.predict("good", {"input": [SAMPLE["input"][0]]})
            np.testing.assert_array_equal(result["output"], 2 * SAMPLE["input"][0])
            versions.update(client.metadata("good").versions)
    return versions


def test_all_workers_follow_signed_versions(tmp_path, key):
    repository = tmp_path / "repository"
    publish_signed(repository, key)
    options = {"workers": 2, "require_signature": key.public, "model_control": "poll", "poll": 0.1}
    with served(repository, "process", **options) as server:
        second = publish_signed(repository, key, version=2)
        until(lambda: server.log.count("good: serves with version 2") == 2, PATIENCE)
        assert versions_served(server) == {"2"}
        shutil.copytree(second, second.parent / "3")
        refusal = 'version 3 stays out: release.json: is of "good" version 2'
        until(lambda: server.log.count(refusal) == 2, PATIENCE)
        assert versions_served(server) == {"2"}
