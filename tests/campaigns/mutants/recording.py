"""A pytest plugin: record which test, or which fixture, reaches which mutant, and how long each test takes.

The context of a hit is the node id of a test, or `fixture FILE::NAME` while a fixture is set up: a server of the whole
session belongs to every test that uses it, not only to the first. Processes that tests start inherit the context.
"""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY_BYTES = 8 << 30
"""A mutant may allocate without end."""

_tests: dict[str, dict[str, object]] = {}


def pytest_configure(config: pytest.Config) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs
    fixtures = [f"fixture {each[-1].baseid}::{each[-1].argname}" for each in definitions.values()]
    _tests[item.nodeid] = {"seconds": 0.0, "fixtures": fixtures}
    os.environ["MUTANT_CONTEXT"] = item.nodeid
    before = _cpu_seconds()
    try:
        return (yield)
    finally:
        _tests[item.nodeid]["cpu"] = round(_cpu_seconds() - before, 3)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    before = os.environ.get("MUTANT_CONTEXT", "")
    os.environ["MUTANT_CONTEXT"] = f"fixture {fixturedef.baseid}::{fixturedef.argname}"
    try:
        return (yield)
    finally:
        os.environ["MUTANT_CONTEXT"] = before


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.nodeid not in _tests:  # xdist reports the workers' tests in the controller, too
        return
    test = _tests[report.nodeid]
    test["seconds"] = round(float(str(test["seconds"])) + report.duration, 3)
    if report.failed:
        test["failed"] = True


def pytest_sessionfinish() -> None:
    if _tests and "MUTANT_TESTS" in os.environ:
        (Path(os.environ["MUTANT_TESTS"]) / f"{os.getpid()}.json").write_text(json.dumps(_tests))
