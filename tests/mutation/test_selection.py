"""Which tests run a line, and in which order."""

import json

import coverage
import pytest

from mutation.selection import TestsByLine

QUICK, SLOW, SERVED = "tests/a.py::test_quick", "tests/a.py::test_slow[1]", "tests/b.py::test_served"
FAILING = "tests/b.py::test_failing"


CODE = """import os
def run(
    limit=3,
):
    first = limit
    second = os.path.join(
        "a",
    )
def never():
    return 1
"""


@pytest.fixture
def tests(tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    data = coverage.CoverageData(str(tmp_path / "data"))
    for context, lines in ((QUICK, [5]), (SLOW, [5, 6]), ("fixture server", [6]), ("", [1, 2, 3, 9])):
        data.set_context(context)
        data.add_lines({str(tmp_path / "code.py"): lines})
    data.write()
    times = {QUICK: (0.1, []), SLOW: (5.0, []), SERVED: (1.0, ["server"])}
    recorded = {name: {"seconds": seconds, "fixtures": fixtures} for name, (seconds, fixtures) in times.items()}
    recorded[FAILING] = {"seconds": 0.0, "fixtures": ["server"], "failed": True}
    (tmp_path / "tests.json").write_text(json.dumps(recorded))
    return TestsByLine(tmp_path / "data", tmp_path / "tests.json", tmp_path)


def test_the_quickest_come_first(tests):
    assert tests.tests_of("code.py", 5) == [QUICK, SLOW]


def test_what_a_fixture_runs_belongs_to_all_that_use_it(tests):
    assert tests.tests_of("code.py", 6) == [SERVED, SLOW]


def test_a_line_without_a_record_belongs_to_those_of_its_function(tests):
    assert tests.tests_of("code.py", 7) == [SERVED, QUICK, SLOW]


def test_what_an_import_runs_belongs_to_all_that_run_the_file(tests):
    assert tests.tests_of("code.py", 1) == tests.tests_of("code.py", 3) == [SERVED, QUICK, SLOW]


def test_what_no_test_runs_belongs_to_none(tests):
    assert tests.tests_of("code.py", 10) == []


def test_what_fails_anyway_is_named(tests):
    assert tests.failing == [FAILING]
