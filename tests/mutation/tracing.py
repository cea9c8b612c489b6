"""A pytest plugin: record under which test, or in which fixture, each line runs, and how long each test takes.

coverage's contexts are the node ids of tests, and `fixture NAME` for what a fixture does before it gives its value: a
server of the whole session belongs to every test that uses it, not only to the first. Processes that tests start take
their context from the environment.
"""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

# A mutant may allocate without end.
MEMORY_BYTES = 8 << 30

_tests: dict[str, dict[str, object]] = {}


def _switch(context: str) -> None:
    os.environ["MUTATION_CONTEXT"] = context
    current = coverage.Coverage.current()
    if current is not None:
        current.switch_context(context)


def pytest_configure(config: pytest.Config) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _tests[item.nodeid] = {"seconds": 0.0, "fixtures": list(getattr(item, "fixturenames", []))}
    _switch(item.nodeid)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.environ.get("MUTATION_CONTEXT", "")
    _switch(f"fixture {fixturedef.argname}")
    try:
        return (yield)
    finally:
        _switch(before)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    test = _tests[report.nodeid]
    if report.when == "call":
        test["seconds"] = report.duration
    if report.failed:
        test["failed"] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("MUTATION_TESTS")
    if target:
        Path(target).write_text(json.dumps(_tests))
