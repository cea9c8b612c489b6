"""What coverage measures where its tracer does not follow torch, nor imports: the same lines of this project."""

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import coverage

from support import torch_unmeasured, unmeasured_imports

TESTS = Path(__file__).parent
ROOM = TESTS.parent / "export/rnnserve/export/recurrence"
PROGRAM = """
import contextlib
import os
import sys
import coverage
import torch
from torch import nn
from rnnserve.export import UnsupportedModule, export_onnx
from support import torch_unmeasured, unmeasured_imports

class Module(nn.Module):
    def __init__(self, refused=False):
        super().__init__()
        self.layer, self.refused = nn.GRU(3, 4, batch_first=True), refused
    def forward(self, x):
        if self.refused:
            raise ValueError("of the module's own")
        return self.layer(x)[0]

def export(module):
    export_onnx(module.eval(), (torch.zeros(2, 3, 3),), input_names=["x"], output_names=["y"],
                dynamic_shapes=({0: "batch", 1: "sequence"},))

def measure(which):
    measuring = coverage.Coverage(config_file=".coveragerc", data_file=which)
    measuring.start()  # what is imported is not measured: it takes longer than all else
    if which == "paused":
        torch_unmeasured.leave_out()
    with contextlib.suppress(UnsupportedModule):
        export(Module(refused=True))
    export(Module())
    measuring.stop()
    measuring.save()

for which in sys.argv[1:]:  # each in a fork, as in a process of its own that has imported the same
    if not os.fork():
        measure(which)
        break
    assert os.wait()[1] == 0
"""


def measured(tmp_path, *ways):
    """For each way, pairs of lines that the program has run, one after the other, by file of the project."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / ".coveragerc").write_text(f"[run]\nbranch = true\ncore = ctrace\nsource =\n  {ROOM}\n  {tmp_path}\n")
    command = [sys.executable, "program.py", *ways]
    # No other coverage follows the imports.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run(command, check=True, cwd=tmp_path, env={**environment, "PYTHONPATH": str(TESTS)})
    for way in ways:
        data = coverage.CoverageData(str(tmp_path / way))
        data.read()
        yield {Path(file).name: set(data.arcs(file) or ()) for file in data.measured_files()}


def test_the_same_lines_are_measured(tmp_path):
    everything, found = measured(tmp_path, "all", "paused")
    # The program takes another way through its own `if`. torch calls what keeps its tables, its results and its
    # registry, whose own tests are files of `FOLLOWED`.
    kept = ("decomposition_tables.py", "translation_registry.py", "undecomposed.py")
    for file in ("program.py", *kept):
        del everything[file], found[file]
    assert found == everything
    assert {"recurrent_modules.py", "interception.py", "translations.py", "size_probing.py"} <= found.keys()


def test_files_that_are_followed_are_there():
    assert all((TESTS.parent / name).is_file() for name in torch_unmeasured.FOLLOWED)


def test_the_tracer_goes_on_in_what_torch_calls_and_pauses_in_what_that_calls():
    seen = []

    def look(then=lambda: None):
        seen.append(sys.gettrace() is tracer)
        then()
        seen.append(sys.gettrace() is tracer)

    def tracer(frame, event, arg):
        return None

    again = torch_unmeasured.paused(look)
    ours = torch_unmeasured.resumed(lambda: look(again))
    of_torch = torch_unmeasured.paused(lambda: look(ours))
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        look(of_torch)
        sys.settrace(None)
        look(of_torch)
    finally:
        sys.settrace(before)
    assert seen == [True, False, True, False, False, True, False, True] + [False] * 8


def test_imports_of_what_is_installed_are_not_followed(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader
    monkeypatch.setattr(loader, "exec_module", loader.exec_module)
    unmeasured_imports.leave_out()
    (tmp_path / "not_installed.py").write_text("import colorsys\n\nVALUE = colorsys.rgb_to_hls(1, 0, 0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("colorsys", "not_installed"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    followed = set()

    def tracer(frame, event, arg):
        followed.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name))

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        importlib.import_module("not_installed")
    finally:
        sys.settrace(before)
    assert ("not_installed.py", "<module>") in followed
    assert ("colorsys.py", "rgb_to_hls") in followed
    assert ("colorsys.py", "<module>") not in followed
