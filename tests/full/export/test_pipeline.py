"""Published bytes are the same in another process and folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT

FILES = [GOLDEN, MANIFEST, MODEL, SCRIPT, SCAN]

ELSEWHERE = """
import sys
from pathlib import Path
import torch
from rnnserve.models import load_checkpoint
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.pipeline import publish
torch.set_num_threads(3)
torch.manual_seed(99)
publish(classifier_publication(load_checkpoint(Path(sys.argv[1]))), repository=Path(sys.argv[2]), progress=False)
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_another_process_and_folder_give_the_same_bytes(exported, checkpoint, tmp_path):
    moved = Path(shutil.copytree(checkpoint, tmp_path / "ein anderer Ort" / "c"))
    environment = {**os.environ, "PYTHONHASHSEED": "5", "HOME": str(tmp_path), "TZ": "Asia/Tokyo"}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(moved), str(tmp_path / "repository")],
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    again = contents(tmp_path / "repository" / checkpoint.name / "1")
    assert again.keys() == set(FILES)
    for name, data in contents(exported[1].published.folder).items():
        assert again[name] == data, f"{name} differs"
