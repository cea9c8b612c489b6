"""Workers agree on signatures: on what serves, and on what may not be gone back behind."""

import os
import shutil
import signal
import time

import numpy as np
import pytest

from kit.bad_versions import SAMPLE
from kit.signed_versions import make_key, publish_signed, sign
from kit.waiting import PATIENCE, until
from kit.workers import serving
from rnnserve.client import Client


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "ours")


def version_of(serving):
    """The version that a worker on a new connection answers with."""
    with Client(f"127.0.0.1:{serving.port}") as client:
        (result,) = client.predict("good", {"input": [SAMPLE["input"][0]]})
        np.testing.assert_array_equal(result["output"], 2 * SAMPLE["input"][0])
        return client.metadata("good").versions


def test_a_worker_that_replaces_another_does_not_go_back(tmp_path, key):
    repository, folder = tmp_path / "repository", tmp_path / "log"
    folder.mkdir()
    publish_signed(repository, key)
    second = publish_signed(repository, key, version=2)
    options = ("--workers", "2", "--require-signature", str(key.public))
    with serving(repository, folder, *options) as served:
        assert list(version_of(served)) == ["2"]
        shutil.rmtree(second)
        os.kill(served.workers()[0], signal.SIGKILL)
        until(lambda: "version 1: release.json: has sequence number 1" in served.log, PATIENCE)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            assert list(version_of(served)) == ["2"]


def test_what_is_signed_anew_serves_in_all_workers(tmp_path, key):
    repository, folder = tmp_path / "repository", tmp_path / "log"
    folder.mkdir()
    first = publish_signed(repository, key)
    options = ("--workers", "2", "--require-signature", str(key.public), "--model-control", "poll", "--poll", "0.1")
    with serving(repository, folder, *options) as served:
        second = publish_signed(repository, key, version=2)
        until(lambda: "good: serves with version 2" in served.log, PATIENCE)
        shutil.rmtree(second)
        until(lambda: "version 1 stays out: release.json: has sequence number 1" in served.log, PATIENCE)
        assert [list(version_of(served)) for _ in range(10)] == [["2"]] * 10
        sign(first, key, sequence=3)
        until(lambda: "good: serves with version 1" in served.log, PATIENCE)
        until(lambda: list(version_of(served)) == ["1"], PATIENCE)
