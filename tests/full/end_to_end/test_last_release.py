"""Client and server of the last release beside those of this one: what each understands of the other.

The last release runs in processes of its own, from the source that it was released with (`tests/data/releases`).
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version

import numpy as np
import pytest

from kit.paths import ROOT, TESTS
from kit.served import served
from kit.waiting import PATIENCE
from rnnserve.client import Client

DATA = TESTS / "data"
LAST = "0.1.0"
MODEL = "direction_small"
WALKS = [[(0, 0), (0, 1), (1, 1)], [(0, 0), (1, 0)]]

ASK = """
import json, sys
import numpy as np
from rnnserve.client import Client
from rnnserve.client.errors import ClientError
url, model, walks = json.loads(sys.argv[1])
said = {}
with Client(url) as client:
    said["live"], said["ready"] = client.is_live(), client.is_ready(model)
    padded = np.zeros((len(walks), max(map(len, walks)), 2), np.float32)
    for row, walk in enumerate(walks):
        padded[row, : len(walk)] = walk
    answer = client.infer(model, {"input": padded, "lengths": np.array([len(walk) for walk in walks], np.int64)})
    said["logits"] = answer["logits"].tolist()
    try:
        said["labels"] = [result.label for result in client.classify(model, walks)]
    except ClientError as error:
        said["refused"] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    """Runs Python with the last release. What it needs beside rnnserve is what is installed."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(DATA / "releases" / f"rnnserve-{LAST}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    areas = [str(folder), *[str(folder / area) for area in ("cli", "client", "protos", "server")]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(areas)}

    def start(*words, **how):
        return subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE, text=True, **how)

    return start


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What the last release has published."""
    folder = tmp_path_factory.mktemp("published")
    with tarfile.open(DATA / "format_1" / f"{MODEL}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def address(repository):
    """A server of this release, which serves what the last one published."""
    with served(repository) as server:
        yield server.address


@pytest.fixture(scope="module")
def last_address(last, repository):
    """A server of the last release."""
    with last("-m", "rnnserve.cli", "serve", str(repository), "--grpc-port", "0", "--provider", "cpu") as process:
        found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        yield found[0]
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def told(last, address):
    """What a client of the last release was told by a server of this one."""
    with last("-c", ASK, json.dumps([address, MODEL, WALKS])) as process:
        return json.loads(process.communicate(timeout=PATIENCE)[0])


def test_installed_old_release_is_the_last_one(last):
    program = (
        "from importlib.metadata import version; import rnnserve.client as it; print(version('rnnserve'), it.__file__)"
    )
    with last("-c", program) as process:
        said, file = process.communicate(timeout=PATIENCE)[0].split()
    assert said == LAST
    assert "release" in file
    assert version("rnnserve") != LAST, "this release has to have a version of its own"


def test_client_of_this_release_works_with_a_server_of_the_last(last_address, address):
    with Client(last_address) as last, Client(address) as this:
        assert last.is_live()
        assert last.is_ready(MODEL)
        theirs, ours = last.metadata(MODEL), this.metadata(MODEL)
        assert theirs.labels == ours.labels
        assert {name: tensor.axis_names for name, tensor in theirs.inputs.items()} == {
            name: tensor.axis_names for name, tensor in ours.inputs.items()
        }
        for client in (last, this):
            assert [result.label for result in client.classify(MODEL, WALKS)] == [
                result.label for result in this.classify(MODEL, WALKS)
            ]
        for first, second in zip(last.predict(MODEL, WALKS), this.predict(MODEL, WALKS), strict=True):
            assert set(first) == set(second)
            for name, array in first.items():
                np.testing.assert_array_equal(array, second[name])


def test_client_of_the_last_release_works_with_this_server(told, address):
    with Client(address) as client:
        logits = [result["logits"] for result in client.predict(MODEL, WALKS, outputs=["logits"])]
    assert (told["live"], told["ready"]) == (True, True)
    np.testing.assert_array_equal(np.array(told["logits"], np.float32), np.array(logits))


def test_incompatibilities_match_the_upgrade_notes(told):
    """It reads no metadata of this release: docs/operate/release.md has this case, and clients are updated first."""
    assert told["refused"] == "InternalError: Exception deserializing response!"
    assert "labels" not in told
    notes = (ROOT / "docs" / "operate" / "release.md").read_text()
    assert "Exception deserializing response!" in notes
