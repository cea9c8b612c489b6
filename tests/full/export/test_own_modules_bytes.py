"""The same module and description give the same bytes everywhere. Nothing of the machine is in them."""

import os
import subprocess
import sys

import pytest

from kit.machine_words import machine_words
from kit.own_modules import publication_of
from kit.paths import TESTS
from rnnserve.export.pipeline import publish

FOLDER = str(TESTS)
NAMES = ["policy", "alarm"]

PUBLISH = """
import sys
from pathlib import Path
import torch
from rnnserve.export.pipeline import publish
from kit.own_modules import publication_of
torch.set_num_threads(3)
torch.manual_seed(99)
for name in sys.argv[2:]:
    publish(publication_of(name), repository=Path(sys.argv[1]), progress=False)
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The folder of another process, which has published the modules in another order."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "5",
        "HOME": str(folder),
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": FOLDER,
    }
    command = [sys.executable, "-c", PUBLISH, str(folder / "there"), *reversed(NAMES)]
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_other_process_publishes_the_same_bytes(elsewhere, tmp_path, name):
    here = publish(publication_of(name), repository=tmp_path / "here", progress=False).published.folder
    there = elsewhere / "there" / name / "1"
    assert sorted(path.name for path in there.iterdir()) == sorted(path.name for path in here.iterdir())
    secrets = machine_words(tmp_path, elsewhere, FOLDER)
    for path in here.iterdir():
        data = path.read_bytes()
        assert (there / path.name).read_bytes() == data, f"{path.name} differs"
        assert [word for word in secrets if word in data] == [], f"in {path.name}"
