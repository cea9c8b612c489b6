"""A repository to be looked at, and `rnnserve doctor`, which looks."""

import json

import pytest

from kit.tiny import publish_tiny
from rnnserve.cli import main


@pytest.fixture
def root(tmp_path):
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    return tmp_path / "repository"


@pytest.fixture
def examined(capsys):
    """Runs the command; gives its status, and level and text of each finding by what it is about."""

    def examine(*words):
        status = main(["doctor", *map(str, words), "--json"])
        told = json.loads(capsys.readouterr().out)
        for level in ("problem", "warning"):
            assert told[f"{level}s"] == sum(finding["level"] == level for finding in told["findings"])
        found = {}
        for finding in told["findings"]:
            found.setdefault(finding["about"], []).append((finding["level"], f"{finding['said']}: {finding['remedy']}"))
        return status, found

    return examine
