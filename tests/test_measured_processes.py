"""What coverage measures of a process that a test starts: the lines that it has executed, and no other file."""

import os
import subprocess
import sys
from pathlib import Path

import coverage

from support.measured_processes import note_executed_only

TESTS = Path(__file__).parent
PROGRAM = """
import subprocess, sys
from support.measured_processes import note_executed_only

for _ in range(int(sys.argv[1])):
    note_executed_only()
subprocess.run([sys.executable, "-c", "import here.used; here.used.answer(1)"], check=True)
"""


def measured_of_process(folder, times):
    """Pairs of lines that the started process has run, one after the other, by file."""
    folder.mkdir()
    (folder / "here").mkdir()
    (folder / "here" / "used.py").write_text("def answer(of):\n    if of:\n        return 1\n    return 2\n")
    (folder / "here" / "unused.py").write_text("VALUE = 1\n")
    (folder / "program.py").write_text(PROGRAM)
    (folder / ".coveragerc").write_text(
        "[run]\nbranch = true\ncore = ctrace\nparallel = true\npatch = subprocess\nsource = here\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run(
        [sys.executable, "-m", "coverage", "run", "program.py", str(times)],
        check=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(TESTS), str(folder)])},
    )
    found = []
    for file in folder.glob(".coverage.*"):
        data = coverage.CoverageData(str(file))
        data.read()
        found.append({Path(name).name: set(data.arcs(name) or ()) for name in data.measured_files()})
    (of_process,) = [each for each in found if each.get("used.py")]
    return of_process


def test_it_notes_the_same_lines_and_nothing_of_other_files(tmp_path):
    before = measured_of_process(tmp_path / "before", 0)
    assert before.keys() == {"used.py", "unused.py"}
    assert not before["unused.py"]
    for times in (1, 2):
        assert measured_of_process(tmp_path / str(times), times) == {"used.py": before["used.py"]}


def test_where_none_is_measured_nothing_changes(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    note_executed_only()
    assert not os.environ
