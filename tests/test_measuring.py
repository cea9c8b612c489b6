"""Cases that add nothing to the coverage are left out of it, and whatever else runs is measured as before."""

import os
import subprocess
import sys
from pathlib import Path

import coverage
import pytest

from support import measuring
from support.measuring import ENOUGH, Additions

PROGRAM = """
import contextlib
import coverage
import pytest
from support import measuring

def case(test, number, fails=False):
    hook = measuring.unmeasured(f"{test}[{number}]")
    next(hook)
    try:
        work(number)
        if fails:
            raise ValueError("of the test")
    except ValueError as error:
        with contextlib.suppress(ValueError):
            hook.throw(error)
        return
    with contextlib.suppress(StopIteration):
        hook.send(None)

def work(number):
    if number == 100:
        return "left out"
    if number == 101:
        return "of another test"
    if number == 102:
        return "of another area"
    return "of every case"

def afterwards():
    return "measured again"

measuring.AREAS = ("exports/",)
measured = coverage.Coverage(config_file=".coveragerc")
measured.start()
for number in range(20):
    case("exports/a.py::test", number)
case("exports/a.py::test", 100)
case("exports/a.py::test", 100, fails=True)
case("exports/a.py::test_of_another_name", 101)
case("others/a.py::test", 102)
afterwards()
measured.stop()
measured.save()
"""


def test_cases_are_measured_while_they_add_something(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / ".coveragerc").write_text(
        f"[run]\nbranch = true\ncore = ctrace\ndata_file = {tmp_path / 'found'}\nsource = {tmp_path}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "program.py"], check=True, cwd=tmp_path, env=environment)
    data = coverage.CoverageData(str(tmp_path / "found"))
    data.read()
    run = set(data.lines(str(tmp_path / "program.py")))
    texts = {text: at for at, text in enumerate(PROGRAM.splitlines(), 1)}
    expected = {
        '        return "left out"': False,
        '        return "of another test"': True,
        '        return "of another area"': True,
        '    return "of every case"': True,
        '    return "measured again"': True,
    }
    assert {text: texts[text] in run for text in expected} == expected


def test_a_case_that_adds_something_lets_more_be_measured():
    additions = Additions()
    for _ in range(ENOUGH - 1):
        additions.note("a::test[x]", 0)
    additions.note("a::test[y]", 1)
    for _ in range(ENOUGH):
        assert additions.may_come("a::test[z]")
        additions.note("a::test[z]", 0)
    assert not additions.may_come("a::test[another]")
    assert additions.may_come("a::other")


@pytest.mark.parametrize(
    ("test", "starts_some", "measured"),
    [
        ("tests/export/test_it.py::test[a]", False, False),
        ("tests/export/test_it.py::test[a]", True, True),
        ("tests/server/test_it.py::test", False, True),
    ],
)
def test_processes_of_publications_alone_are_not_measured(monkeypatch, test, starts_some, measured):
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "of another process")
    monkeypatch.setattr(measuring, "_children", "of this one")
    measuring.measure_children(test, starts_some=starts_some)
    assert os.environ.get("COVERAGE_PROCESS_CONFIG") == ("of this one" if measured else None)
