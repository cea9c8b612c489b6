"""Files that repeat what another file says: CI, pre-commit and the package's metadata."""

import re
import tomllib

from kit.paths import ROOT
from rnnserve.server.fast_path import grpcio_core

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_pre_commit_uses_the_ruff_version_of_constraints():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert re.findall(r"repo: \S+/ruff-pre-commit\n\s+rev: v(\S+)", hooks) == [pinned[1]]


def test_ci_runs_make_targets_only():
    commands = re.findall(r"^\s*- run: (.+)$", WORKFLOW, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"make test", "make check"} <= set(commands)
    for command in commands:
        make, target, *variables = command.split()
        assert make == "make"
        assert target in targets
        assert all("=" in variable for variable in variables)


def test_ci_runs_each_python_version_of_the_package():
    tested = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.+)\]", WORKFLOW)[1])
    prefix = "Programming Language :: Python :: "
    assert [prefix + version for version in tested] == [
        classifier for classifier in PROJECT["classifiers"] if classifier.startswith(prefix + "3.")
    ]
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_package_requires_the_grpcio_version_tested_with_the_fast_path():
    assert f"grpcio{grpcio_core._TESTED}" in PROJECT["optional-dependencies"]["server"]
