"""The same module and description give the same bytes everywhere; nothing of the machine is in them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnserve.export.pipeline import publish
from support.machine_words import machine_words
from support.own_modules import PUBLICATIONS, own_module

PUBLISH = """
import sys
from pathlib import Path
import torch
from rnnserve.export.pipeline import publish
from support.own_modules import PUBLICATIONS, own_module
torch.set_num_threads(3)
torch.manual_seed(99)
kind, describe = PUBLICATIONS[sys.argv[1]]
publish(describe(own_module(kind)), repository=Path(sys.argv[2]), progress=False)
"""


@pytest.mark.parametrize("name", ["tagger", "forecaster", "alarm", "single_inside"])
def test_another_process_gives_the_same_bytes(tmp_path, name):
    kind, describe = PUBLICATIONS[name]
    here = publish(describe(own_module(kind)), repository=tmp_path / "here", progress=False).published.folder
    tests = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "5",
        "HOME": str(tmp_path),
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": tests,
    }
    command = [sys.executable, "-c", PUBLISH, name, str(tmp_path / "there")]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    there = tmp_path / "there" / name / "1"
    assert sorted(path.name for path in there.iterdir()) == sorted(path.name for path in here.iterdir())
    secrets = machine_words(tmp_path, tests)
    for path in here.iterdir():
        data = path.read_bytes()
        assert (there / path.name).read_bytes() == data, f"{path.name} differs"
        assert [word for word in secrets if word in data] == [], f"in {path.name}"
