"""What coverage measures where its tracer does not follow pytest: the same lines of tests, and of what they call."""

import os
import subprocess
import sys
from pathlib import Path

import _pytest.runner
import coverage
import pytest

TESTS = Path(__file__).parent
FILES = {
    "conftest.py": """
import os
import pytest
from support import unmeasured_pytest

if os.environ["WHICH"] == "paused":
    unmeasured_pytest.leave_out()

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    unmeasured_pytest.go_on_in(pyfuncitem)
""",
    "used.py": """
def is_even(number):
    if number % 2:
        return False
    return True

def made():
    return [1]

def undone(made):
    made.clear()

def ended():
    return 0

def in_thread(seen):
    seen.append(1)
""",
    "test_all.py": """
import threading
import pytest
import used
from hypothesis import given, settings, strategies

@pytest.fixture
def plain():
    return used.is_even(1)

@pytest.fixture(params=[1, 2])
def generated(request, plain):
    made = used.made()
    request.addfinalizer(lambda: used.ended())
    yield made
    used.undone(made)

@pytest.mark.parametrize("number", [3, 4])
def test_function(generated, number):
    assert used.is_even(number) == (number == 4)

class TestClass:
    def test_method(self, request, generated):
        assert not request.getfixturevalue("plain")

@pytest.mark.xfail(reason="as it should be", strict=True)
def test_that_fails(generated):
    assert used.is_even(5)

@given(strategies.integers(0, 9))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_examples(number):
    assert used.is_even(number) == (number in (0, 2, 4, 6, 8))

def test_thread():
    seen = []
    thread = threading.Thread(target=used.in_thread, args=(seen,))
    thread.start()
    thread.join()
    assert seen
""",
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """By whether pytest is followed, "all" or "paused": pairs of lines that were run, by file."""
    folder = tmp_path_factory.mktemp("measured")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / ".coveragerc").write_text(
        f"[run]\nbranch = true\ncore = ctrace\ninclude =\n  {folder}/*\n  */_pytest/*\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    found = {}
    for which in ("all", "paused"):
        more = {"WHICH": which, "COVERAGE_FILE": str(folder / which), "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(command, cwd=folder, env={**environment, **more}, capture_output=True, text=True)
        assert "8 passed, 2 xfailed" in done.stdout, done.stdout
        data = coverage.CoverageData(str(folder / which))
        data.read()
        found[which] = {Path(file).name: set(data.arcs(file) or ()) for file in data.measured_files()}
    return found


@pytest.mark.parametrize("file", ["used.py", "test_all.py"])
def test_the_same_lines_are_measured(measured, file):
    assert measured["paused"][file] == measured["all"][file]
    lines = {line for pair in measured["paused"][file] for line in pair}
    assert {number for number, line in enumerate(FILES[file].splitlines(), 1) if line.startswith("    ")} <= lines


def test_what_pytest_does_around_a_test_is_not_followed(measured):
    code = _pytest.runner.call_and_report.__code__
    within = {line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno}
    ran = {which: {line for pair in found["runner.py"] for line in pair} & within for which, found in measured.items()}
    assert len(ran["all"]) > 5
    assert not ran["paused"]
