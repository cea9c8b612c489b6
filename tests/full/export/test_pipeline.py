"""Published bytes are the same in another process and folder, and few."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kit.descriptions import describe_classifier
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.torch_threads import one_thread
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT
from rnnserve.protos.golden import dump_cases, replay

FILES = [GOLDEN, MANIFEST, MODEL, SCRIPT, SCAN]

ELSEWHERE = """
import sys
from pathlib import Path
import torch
from rnnserve.export.classifiers import export_checkpoint
torch.set_num_threads(3)
torch.manual_seed(99)
export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
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


@pytest.mark.parametrize("architecture", [Architecture(bidirectional=True), Architecture(num_layers=2)])
def test_golden_cases_are_small(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        classifier = DirectionClassifier.of(architecture).eval()
    model = describe_classifier(classifier)
    runner = OnnxRunner(to_onnx(model))
    with one_thread():
        cases = make_cases(model, reference_of(model), runner).cases
    assert len(dump_cases(cases)) < 500_000
    assert replay(cases, runner, replay_limits()[0]) == []
